"""A table is the sampler that it was made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    Bespoke,
    Cosine,
    Euler,
    Hold,
    Linear,
    LinearX0,
    Newton,
    SolverTable,
    Taylor,
    as_table,
    compose,
    flow_schedule,
    mask_of_steps,
    sample,
    static_schedule,
    step_cache,
)
from jax_stepcache.solvers.named import SOLVERS
from jax_stepcache.solvers.stochastic import draws_noise

STEPS = 7
NOISE = {
    "action": jnp.linspace(-1, 1, 6).reshape(2, 3),
    "video": jnp.linspace(1, -2, 8).reshape(2, 4),
}
FORECASTS = [
    Hold(),
    Linear(),
    Linear(damping=0.5, max_ratio=1.5),
    LinearX0(damping=0.5),
    Newton(2),
    Taylor(2),
]


ONE_CALL_A_STEP = [
    name
    for name, make in SOLVERS.items()
    if not draws_noise(make()) and not hasattr(make(), "expanded")
]


def network(weights, x, t, condition):
    """Bends with the sample, and turns with the time of each output."""
    action, video = (t[name][:, None] / 1000 for name in ("action", "video"))
    bent = jnp.tanh(weights * x["video"] + video)
    return {"action": jnp.sin(x["action"] + 3 * action) + bent[:, :3], "video": bent}


@pytest.mark.slow
@given(
    solver=st.sampled_from(ONE_CALL_A_STEP),
    shift=st.floats(0.7, 6),
    final_noise=st.none() | st.floats(0, 0.8),
    rest=st.sets(st.integers(1, STEPS - 1)),
    action=st.sampled_from(FORECASTS),
    video=st.sampled_from(FORECASTS),
)
def test_any_static_sampler_is_a_table(solver, shift, final_noise, rest, action, video):
    """The same sample to 1e-5, with as many calls, whatever is put together."""
    schedule = {
        "action": flow_schedule(STEPS, shift, final_noise),
        "video": flow_schedule(STEPS, 5.0),
    }
    policy = static_schedule(
        mask_of_steps([0, *rest], STEPS), {"action": action, "video": video}
    )
    options = {"model": network, "noise": NOISE}
    wanted = sample(1.5, schedule=schedule, solver=solver, cache=policy, **options)
    tables = as_table(solver, schedule, policy)
    given = sample(1.5, schedule=tables, **options)
    assert given.stats.model_calls == wanted.stats.model_calls == 1 + len(rest)
    assert given.stats.computed.all()
    for name, end in wanted.sample.items():
        np.testing.assert_allclose(
            given.sample[name], end, atol=1e-5 * max(1, np.abs(end).max())
        )


def test_a_table_has_a_table():
    """Made again of a table, it is the same: nothing is lost on the way."""
    table = as_table("unipc", flow_schedule(4, 5.0))
    again = as_table(Bespoke(4), table)
    for one, other in zip(table, again, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_one_table_or_one_for_each_output():
    """Outputs are told apart where the schedule or the forecast does so."""
    schedule = flow_schedule(3, 5.0)
    mask = mask_of_steps([0, 1], 3)
    each = {"action": Hold(), "video": Linear()}
    assert isinstance(as_table(Euler(), schedule), SolverTable)
    assert set(as_table(Euler(), {"a": schedule, "b": schedule})) == {"a", "b"}
    by_forecast = as_table(Euler(), schedule, static_schedule(mask, each))
    assert set(by_forecast.noise) == set(by_forecast.velocities) == set(each)
    assert by_forecast.num_steps == 2
    told = []

    def plain(weights, x, t, condition):
        told.append(t)
        return network(weights, x, {"action": t, "video": t}, condition)

    options = {"model": plain, "noise": NOISE}
    given = sample(1.5, schedule=by_forecast, **options)
    cache = static_schedule(mask, each)
    wanted = sample(1.5, schedule=schedule, solver="euler", cache=cache, **options)
    for name, end in wanted.sample.items():
        np.testing.assert_allclose(given.sample[name], end, atol=1e-5)
        each_alone = sample(1.5, schedule=by_forecast, decide="sample", **options)
        np.testing.assert_allclose(each_alone.sample[name], end, atol=1e-5)
    assert all(np.shape(t) == (2,) for t in told)


class Squaring(Hold):
    """A forecast that is no sum of velocities."""

    def predict(self, memory, at):
        return super().predict(memory, at) ** 2


jax.tree_util.register_static(Squaring)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (step_cache(), "compares a signal"),
        (compose(signal=Cosine(), gate=step_cache().gate), "compares a signal"),
        (static_schedule([True, False, True], Squaring()), "not linear"),
        (
            compose(gate=static_schedule([True] * 3).gate, span="blocks"),
            "inside the network",
        ),
    ],
)
def test_what_is_no_table(policy, message):
    """Steps that the sample decides, and forecasts that are not linear, are told."""
    with pytest.raises(ValueError, match=message):
        as_table("euler", flow_schedule(3), policy)


@pytest.mark.parametrize(
    ("solver", "schedule", "policy", "message"),
    [
        ("eular", flow_schedule(3), None, "'euler'"),
        ("euler", [1, 0.5, 0], None, "schedule is"),
        ("euler", flow_schedule(3), "tuned", "policy is 'tuned'"),
        ("euler", flow_schedule(4), static_schedule([True] * 3), "mask has shape"),
    ],
)
def test_bad_input(solver, schedule, policy, message):
    """What is no solver, schedule or policy is told before anything runs."""
    with pytest.raises((TypeError, ValueError), match=message):
        as_table(solver, schedule, policy)
