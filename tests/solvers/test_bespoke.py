"""The solver that steps by a table, wherever a solver may stand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    Bespoke,
    Euler,
    Request,
    Server,
    SolverTable,
    UniPC,
    as_table,
    denoise,
    flow_schedule,
    sample,
    sample_many,
    sampling,
    serve,
    step_cache,
)
from jax_stepcache.policy.named import Uncached

CALLS = 3
NOISE = {
    "action": jnp.linspace(-1, 1, 6).reshape(2, 3),
    "video": jnp.linspace(1, -2, 8).reshape(2, 4),
}
WEIGHTS = jnp.float32(1.5)


def network(weights, x, t, condition):
    """Bends with the sample, and turns with the time of each output."""
    del condition
    if not isinstance(t, dict):
        t = {"action": t, "video": t}
    action, video = (t[name][:, None] / 1000 for name in ("action", "video"))
    bent = jnp.tanh(weights * x["video"] + video)
    return {"action": jnp.sin(x["action"] + 3 * action) + bent[:, :3], "video": bent}


def tables(calls=CALLS, seed=0):
    """A table for each output that no solver has."""
    draw = np.random.default_rng(seed)

    def one(last):
        levels = np.linspace(0.99, last, calls + 1)
        return SolverTable(
            levels,
            1000 * levels[:-1],
            1 + 0.1 * draw.standard_normal(calls),
            np.tril(0.3 * draw.standard_normal((calls, calls))),
        )

    return {"action": one(0.0), "video": one(0.4)}


def by_hand(given, noise):
    """The sample that a table says, in plain NumPy."""
    said = {name: [] for name in noise}
    x = noise
    for j in range(given["video"].num_steps):
        t = {k: np.full(len(noise[k]), given[k].timesteps[j]) for k in noise}
        for name, v in network(WEIGHTS, x, t, None).items():
            said[name].append(v)
        x = {
            name: table.noise[j] * noise[name]
            + sum(table.velocities[j][k] * v for k, v in enumerate(said[name]))
            for name, table in given.items()
        }
    return x


def sampled(given, noise=NOISE, **options):
    return sample(WEIGHTS, model=network, noise=noise, schedule=given, **options)


def check_same(given, wanted):
    for name, end in wanted.items():
        np.testing.assert_allclose(given[name], end, atol=2e-6)


@pytest.mark.parametrize("decide", ["batch", "sample"])
def test_a_table_says_what_is_sampled(decide):
    """Every call is made on the weighted sum that the table says, for each output."""
    given = tables()
    result = sampled(given, decide=decide)
    check_same(result.sample, by_hand(given, NOISE))
    assert np.asarray(result.stats.computed).all()
    assert np.ravel(result.stats.model_calls)[0] == CALLS


def test_another_table_is_the_same_program():
    """Tables are numbers: of as many calls, none compiles again."""
    jitted = jax.jit(lambda table: sampled(table).sample)
    for seed in range(3):
        given = tables(seed=seed)
        check_same(jitted(given), by_hand(given, NOISE))
    assert jitted._cache_size() == 1
    sampled(tables(seed=3))
    before = sampling._run._cache_size()
    sampled(tables(seed=4))
    assert sampling._run._cache_size() == before


def test_one_table_for_all_outputs():
    """One table goes for all outputs, as one schedule does."""
    one = tables()["action"]
    wanted = by_hand({"action": one, "video": one}, NOISE)
    check_same(sampled(one).sample, wanted)


def test_requests_have_tables_of_their_own():
    """Requests of different tables, and of different numbers of calls, share slots."""
    given = [tables(2, 0), tables(3, 1), tables(3, 2)]
    noises = [jax.tree.map(lambda x, i=i: x[:1] + 0.1 * i, NOISE) for i in range(3)]
    requests = [
        Request(noise=noise, schedule=table)
        for noise, table in zip(noises, given, strict=True)
    ]
    results = sample_many(WEIGHTS, requests, model=network, slots=2)
    for result, noise, table in zip(results, noises, given, strict=True):
        check_same(result.sample, by_hand(table, noise))
        assert result.stats.model_calls == table["video"].num_steps


def test_a_stream_takes_tables():
    """A server's requests may each have their own table."""
    one = jax.tree.map(lambda x: x[:1], NOISE)
    example = Request(noise=one, schedule=tables())
    stream = serve(WEIGHTS, model=network, slots=2, example=example)
    with Server(stream) as server:
        waiting = [
            server.submit(Request(noise=one, schedule=tables(seed=seed)))
            for seed in (5, 6)
        ]
        for seed, each in zip((5, 6), waiting, strict=True):
            check_same(each.result().sample, by_hand(tables(seed=seed), one))


def test_requests_by_a_table_and_by_a_solver_do_not_mix():
    """They step by different programs, and that is said."""
    one = jax.tree.map(lambda x: x[:1], NOISE)
    requests = [
        Request(noise=one, schedule=tables()),
        Request(noise=one, num_inference_steps=3),
    ]
    for some in (requests, requests[::-1]):
        with pytest.raises(ValueError, match="by a table and others by a solver"):
            sample_many(WEIGHTS, some, model=network, slots=2)


def test_a_gate_may_sit_on_top():
    """A cache sees the table's noise levels, and skips its calls."""
    cache = step_cache((-1.0,), (1,))
    result = sampled(tables(5), cache=cache)
    assert 0 < result.stats.model_calls < 5
    assert np.isfinite(result.sample["video"]).all()


def test_a_table_has_derivatives():
    """What the sample does with a weight of the table is known: here, one velocity."""
    given = tables()

    def end(table):
        return sampled({**given, "action": table}).sample["action"].sum()

    slope = jax.grad(end)(jax.tree.map(jnp.asarray, given["action"]))
    np.testing.assert_allclose(slope.noise[-1], NOISE["action"].sum(), atol=1e-5)
    step = 1e-2
    moved = given["action"]._replace(timesteps=given["action"].timesteps + step)
    change = float(end(moved) - end(given["action"])) / step
    np.testing.assert_allclose(slope.timesteps.sum(), change, rtol=0.05)


def test_bfloat16_sums_in_float32():
    """Rounded once a call, and not once a term."""
    noise = jax.tree.map(lambda x: x.astype(jnp.bfloat16), NOISE)
    result = sampled(tables(), noise=noise)
    assert result.sample["video"].dtype == jnp.bfloat16
    wide = jax.tree.map(lambda x: x.astype(jnp.float32), noise)
    for name, end in by_hand(tables(), wide).items():
        given = result.sample[name].astype(jnp.float32)
        np.testing.assert_allclose(given, end, atol=0.05)


def test_denoise_takes_a_table():
    """The loop itself takes a table where it takes a schedule."""
    table = as_table(UniPC(), flow_schedule(CALLS, 2.0))

    def flow(x, step):
        t = jnp.asarray(table.timesteps)[step] / 1000
        return jax.tree.map(lambda one: jnp.sin(one * t), x)

    options = {"policy": Uncached()}
    given = denoise(flow, NOISE, schedule=table, solver=Bespoke(CALLS), **options)
    wanted = denoise(
        flow, NOISE, schedule=flow_schedule(CALLS, 2.0), solver=UniPC(), **options
    )
    check_same(given.sample, wanted.sample)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": [0.9, 0.95, 0.5, 0.0]}, "must fall within"),
        ({"sigmas": [1.2, 0.9, 0.5, 0.0]}, "must fall within"),
        ({"sigmas": [0.9, 0.5, 0.0]}, r"N calls need sigmas \[N \+ 1\]"),
        ({"noise": [1.0, np.nan, 1.0]}, r"schedule\['video'\].*finite"),
        ({"velocities": np.ones((3, 3))}, "above its diagonal"),
        ({"velocities": "abc"}, "velocities"),
        ({"velocities": [[1.0], [1.0, 2.0]]}, "give numbers"),
    ],
)
def test_damaged_tables(change, message):
    """A table that cannot be one is told before anything is compiled."""
    given = tables()
    given["video"] = given["video"]._replace(**change)
    with pytest.raises((TypeError, ValueError), match=message):
        sampled(given)


def test_what_does_not_go_with_a_table():
    """A table is a solver and a schedule; a schedule is no table."""
    given = tables()
    with pytest.raises(ValueError, match="solver of its own"):
        sampled(given, solver="euler")
    with pytest.raises(ValueError, match="give either it or num_inference_steps"):
        sampled(given, num_inference_steps=3)
    with pytest.raises(ValueError, match="some outputs have a table"):
        sampled({**given, "video": flow_schedule(CALLS)})
    with pytest.raises(ValueError, match="same number"):
        sampled({**given, "video": tables(4)["video"]})
    with pytest.raises(ValueError, match="does not fit a sample"):
        sampled({"film": given["video"], "action": given["action"]})
    with pytest.raises(ValueError, match="as_table makes one"):
        sampled(flow_schedule(CALLS), solver=Bespoke(CALLS))
    with pytest.raises(ValueError, match="solver of its own"):
        denoise(
            lambda x, step: x,
            NOISE,
            schedule=given,
            solver=Euler(),
            policy=Uncached(),
        )
