"""Solvers that draw noise: whose noise it is, and what it leaves as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    DPMSolverSDE,
    Euler,
    EulerAncestral,
    Request,
    as_table,
    calibrate,
    denoise,
    flow_schedule,
    get_solver,
    load_params,
    sample,
    sample_many,
)
from jax_stepcache.policy.named import Uncached
from jax_stepcache.solvers.named import SOLVERS
from jax_stepcache.solvers.stochastic import draws_noise, seeds_of

from .integrate import integrate

DRAWING = [name for name, make in SOLVERS.items() if draws_noise(make())]
NOISE = {
    "action": jnp.linspace(-1, 1, 6).reshape(2, 3),
    "video": jnp.linspace(1, -2, 8).reshape(2, 4),
}


def network(weights, x, t, condition):
    """Bends with the sample, and turns with the time."""
    turn = t[:, None] / 300
    return jax.tree.map(lambda one: jnp.sin(weights * one + turn), x)


def one(row):
    return jax.tree.map(lambda x: x[row : row + 1], NOISE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "solver",
    [
        pytest.param(name, marks=() if name == "dpm++_2m_sde" else pytest.mark.slow)
        for name in DRAWING
    ],
)
def test_requests_have_the_noise_they_have_alone(solver):
    """Whatever runs beside it, a request's sample is the one of its own key."""
    options = {"model": network, "solver": solver, "shift": 2.0}
    requests = [
        Request(noise=one(i % 2), key=jax.random.key(i), num_inference_steps=3 + i // 2)
        for i in range(3)
    ]
    alone = [sample(1.0, **one.options(), **options).sample for one in requests]
    # Some wait for a slot; or all have one, which the slow ones look at, too.
    for slots in (2,) if solver == "dpm++_2m_sde" else (2, 4):
        many = sample_many(1.0, requests, slots=slots, max_inference_steps=4, **options)
        for result, wanted in zip(many, alone, strict=True):
            for name, x in wanted.items():
                np.testing.assert_allclose(result.sample[name], x, atol=1e-5)


@pytest.mark.parametrize("decide", ["batch", "sample"])
def test_rows_of_a_batch_do_not_look_at_each_other(decide):
    """The first sample of a batch is the one alone; others have noises of their own."""
    options = {"model": network, "solver": "dpm++_2m_sde", "num_inference_steps": 4}
    same = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), one(0))
    batch = sample(1.0, noise=same, decide=decide, **options).sample["video"]
    alone = sample(1.0, noise=one(0), **options).sample["video"]
    np.testing.assert_allclose(batch[:1], alone, atol=1e-5)
    assert np.abs(batch[0] - batch[1]).max() > 0.1


@pytest.mark.parametrize("decide", ["batch", "sample"])
def test_samples_with_keys_of_their_own(decide):
    """A row of a batch with a key for each is the sample of that key alone."""
    options = {"model": network, "solver": "dpm++_2m_sde", "num_inference_steps": 4}
    keys = jax.random.split(jax.random.key(5), 2)
    batch = sample(1.0, noise=NOISE, key=keys, decide=decide, **options).sample
    for i, key in enumerate(keys):
        alone = sample(1.0, noise=one(i), key=key, **options).sample
        for name, x in alone.items():
            np.testing.assert_allclose(batch[name][i : i + 1], x, atol=1e-5)
        given = sample(1.0, noise=one(i), key=keys[i : i + 1], **options).sample
        jax.tree.map(np.testing.assert_array_equal, given, alone)
    with pytest.raises(ValueError, match=r"shape \(3,\).*each of 2 samples"):
        sample(1.0, noise=NOISE, key=jax.random.split(keys[0], 3), **options)


@pytest.mark.slow
def test_first_noises_with_keys_of_their_own():
    """Where a model draws the first noise, too, it is the one it gets alone."""
    params = load_params("dit")
    keys = jax.random.split(jax.random.key(5), 2)
    options = {"solver": "euler_ancestral", "num_inference_steps": 3}
    labels = {"label": jnp.arange(2)}
    batch = sample(params, observation=labels, key=keys, **options).sample
    requests = [
        Request(observation={"label": jnp.full(1, i)}, key=key)
        for i, key in enumerate(keys)
    ]
    results = sample_many(params, requests, **options)
    for given, result in zip(batch, results, strict=True):
        np.testing.assert_allclose(given, result.sample[0], atol=1e-4)


def test_noise_is_as_wide_as_the_sample():
    """Under strict promotion noise goes with float64, and is the float32's."""
    options = {"solver": "euler_ancestral", "num_inference_steps": 3}

    def made(dtype):
        noise = one(0)["video"].astype(dtype)
        return sample(
            noise[0, 0], model=lambda w, x, t, c: w * x, noise=noise, **options
        )

    wanted = made(jnp.float32).sample
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        given = made(jnp.float64).sample
    assert given.dtype == jnp.float64
    np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_a_key_is_a_sample():
    """The same key gives the same sample, another one another; so do the outputs."""
    options = {"model": network, "solver": "lcm", "num_inference_steps": 3}
    zeros = {"a": jnp.zeros((1, 4)), "b": jnp.zeros((1, 4))}
    made = [
        sample(1.0, noise=zeros, key=key, **options).sample
        for key in (None, jax.random.key(0), jax.random.key(1))
    ]
    np.testing.assert_array_equal(made[0]["a"], made[1]["a"])
    assert np.abs(made[0]["a"] - made[2]["a"]).max() > 0.1
    assert np.abs(made[0]["a"] - made[0]["b"]).max() > 0.1


@pytest.mark.parametrize(
    "kind",
    [
        "rbg",
        pytest.param("threefry2x32", marks=pytest.mark.slow),
        pytest.param("unsafe_rbg", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_key_has_seeds(kind):
    """Seeds are alike in a batch and alone, whatever the key is made of."""
    key = jax.random.key(3, impl=kind)
    several = seeds_of(key, 4)
    assert several.shape == (4, 2)
    assert several.dtype == jnp.uint32
    np.testing.assert_array_equal(several[:1], seeds_of(key, 1))
    assert len({tuple(row) for row in np.asarray(several).tolist()}) == 4


@pytest.mark.parametrize(
    "solver",
    [
        "dpm++_2m_sde",
        pytest.param("dpm++_sde", marks=pytest.mark.slow),
        pytest.param("euler_ancestral", marks=pytest.mark.slow),
    ],
)
def test_the_spread_of_normal_data_is_kept(solver):
    """Noise makes up for what is taken away: data's mean and spread come out."""
    mean, spread, rows = 0.7, 0.4, 20_000
    schedule = flow_schedule(160, 1.0)
    levels = jnp.asarray(schedule.sigmas)

    def flow(x, step):
        sigma = levels[step]
        variance = ((1 - sigma) * spread) ** 2 + sigma**2
        centred = (x - (1 - sigma) * mean) / variance
        return sigma * centred - (mean + (1 - sigma) * spread**2 * centred)

    made = jax.jit(
        lambda key: (
            denoise(
                flow,
                jax.random.normal(key, (rows, 1)),
                schedule=schedule,
                solver=get_solver(solver),
                policy=Uncached(),
                seeds=seeds_of(key, rows),
            ).sample
        )
    )(jax.random.key(0))
    assert abs(float(made.mean()) - mean) < 0.02
    assert abs(float(made.std()) - spread) < 0.03


def test_without_fresh_noise_it_is_eulers():
    """With an eta of 0 no noise is left, and the rest is Euler's method."""
    schedule = flow_schedule(6, 3.0)
    solver = EulerAncestral(0.0)
    assert not solver.tables(schedule.sigmas).noise.any()
    mean = solver.tables(schedule.sigmas).mean
    x = np.array([0.3])
    for i, sigma in enumerate(schedule.sigmas[:-1]):
        v = np.sin(x + sigma)
        x = mean.sample[i] * x + mean.history[i, 0] * (x - sigma * v)
    wanted = integrate(Euler(), schedule, np.array([0.3]), lambda x, s: np.sin(x + s))
    np.testing.assert_allclose(x, wanted)


def test_a_schedule_may_begin_at_pure_noise_and_stop_early():
    """Rows are finite from sigma 1 down to any level."""
    for solver in map(get_solver, DRAWING):
        for levels in ([1.0, 0.7, 0.4, 0.0], [0.9, 0.6, 0.5, 0.3]):
            rows = jax.tree.leaves(solver.tables(levels))
            assert all(np.isfinite(row).all() for row in rows)


@pytest.mark.slow
def test_gradients_go_through_drawn_noise():
    """Noise is a constant in them: reverse mode is what a difference says."""
    options = {"model": network, "solver": "euler_ancestral", "num_inference_steps": 3}

    def end(scale):
        noise = jax.tree.map(lambda x: scale * x, one(0))
        return sample(1.0, noise=noise, **options).sample["video"].sum()

    slope = jax.grad(end)(1.0)
    change = (end(1.01) - end(0.99)) / 0.02
    np.testing.assert_allclose(slope, change, rtol=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: as_table("lcm", flow_schedule(3)), "draws noise at every step"),
        (lambda: EulerAncestral(1.5), "eta is 1.5"),
        (lambda: EulerAncestral(s_noise=-1.0), "s_noise is -1.0"),
        (lambda: DPMSolverSDE(3), "orders 1 to 2"),
        (lambda: DPMSolverSDE(2, "midpiont"), "'midpoint'"),
        (
            lambda: denoise(
                lambda x, step: x,
                NOISE,
                schedule=flow_schedule(3),
                solver=DPMSolverSDE(),
                policy=Uncached(),
            ),
            "given no seeds",
        ),
        (
            lambda: calibrate(
                1.0,
                model=network,
                samples={"noise": NOISE},
                target={"model_calls": 3},
                solver="lcm",
            ),
            "a calibration replays steps",
        ),
        (
            lambda: sample_many(
                1.0, [{"noise": one(0), "solver": "lcm"}], model=network
            ),
            r"requests\[0\].*solver.*shared",
        ),
    ],
)
def test_what_noise_does_not_go_with(make, message):
    """Tables, replays and loops without seeds say that noise would be drawn."""
    with pytest.raises(ValueError, match=message):
        make()
