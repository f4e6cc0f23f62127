import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Hold, Linear, LinearX0, Newton, Taylor
from jax_stepcache.policy.forecasts import Point, get_forecast

numbers = st.floats(-2, 2, width=32)
# Falling sigmas, some way apart and not too near the ends, where log-SNR runs away.
falling = st.lists(st.integers(3, 60), min_size=3, max_size=6, unique=True).map(
    lambda numerators: sorted((n / 64 for n in numerators), reverse=True)
)


def follow(forecast, sigmas, velocities, at, samples=None):
    """Records velocities at their sigmas and predicts the one at another."""
    samples = [jnp.zeros(3)] * (len(sigmas) + 1) if samples is None else samples
    memory = forecast.init(jnp.zeros(3))
    recorded = zip(sigmas, samples, velocities, strict=False)
    for step, (sigma, sample, velocity) in enumerate(recorded):
        here = Point(jnp.int32(step), jnp.float32(sigma), sample)
        memory = forecast.record(memory, here, velocity)
    end = Point(jnp.int32(len(sigmas)), jnp.float32(at), samples[-1])
    return forecast.predict(memory, end)


def log_snr(sigma):
    return math.log((1 - sigma) / sigma)


@given(sigmas=falling, level=numbers, slope=numbers)
def test_linear_is_exact_for_velocities_affine_in_sigma(sigmas, level, slope):
    """A velocity that is a straight line in sigma is predicted without error."""
    *seen, at = sigmas
    spread = jnp.array([1.0, -0.5, 2.0])
    velocities = [spread * (level + slope * sigma) for sigma in seen]
    predicted = follow(Linear(), seen, velocities, at)
    expected = spread * (level + slope * at)
    np.testing.assert_allclose(predicted, expected, atol=2e-4)


@given(sigmas=falling, level=numbers, slope=numbers, noise=numbers)
def test_linear_x0_is_exact_for_x0_affine_in_log_snr(sigmas, level, slope, noise):
    """An x0-prediction that is a line in log-SNR gives the velocity without error."""
    *seen, at = sigmas
    samples = [jnp.full(3, noise * sigma) for sigma in sigmas]
    x0 = [level + slope * log_snr(sigma) for sigma in sigmas]
    velocities = [
        (x - idea) / sigma for x, idea, sigma in zip(samples, x0, sigmas, strict=True)
    ]
    predicted = follow(LinearX0(), seen, velocities, at, samples)
    error = jnp.abs(predicted - velocities[-1]) * at
    assert (error < 2e-3 * (1 + abs(slope))).all()


@given(sigmas=falling, values=st.lists(numbers, min_size=6, max_size=6))
def test_zero_damping_is_hold(sigmas, values):
    """Without its slope the linear forecast is the last velocity, to the bit."""
    *seen, at = sigmas
    velocities = [jnp.full(3, value) for value in values]
    damped = follow(Linear(damping=0.0), seen, velocities, at)
    held = follow(Hold(), seen, velocities, at)
    np.testing.assert_array_equal(damped, held)
    np.testing.assert_array_equal(held, velocities[len(seen) - 1])


@given(damping=st.floats(0, 1, width=32), cap=st.floats(0, 3, width=32))
def test_damping_and_cap(damping, cap):
    """The slope is damped, and the reach counts for no more than the cap."""
    forecast = Linear(damping, cap)
    predicted = follow(forecast, [0.9, 0.8], [jnp.full(3, 1.0), jnp.full(3, 2.0)], 0.6)
    np.testing.assert_allclose(predicted, 2 + damping * min(2, cap), rtol=1e-4)


def test_the_originals_damped_forecast():
    """``f1 + 0.25 (t - t1) (f1 - f2) / (t1 - t2)``, which DreamZero never calls."""
    t2, t1, t = 0.9, 0.7, 0.4
    f2, f1 = jnp.array([1.0, 2.0, 3.0]), jnp.array([1.5, 1.0, 3.0])
    expected = f1 + 0.25 * (t - t1) * (f1 - f2) / (t1 - t2)
    predicted = follow(Linear(damping=0.25), [t2, t1], [f2, f1], t)
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


@pytest.mark.parametrize("forecast", [Linear(), Linear(0.5), Linear(max_ratio=1.0)])
def test_one_velocity_is_held(forecast):
    """With a single velocity there is no slope: it is held."""
    velocity = jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(follow(forecast, [0.9], [velocity], 0.5), velocity)


def test_linear_x0_holds_one_x0_prediction():
    """With a single x0-prediction the velocity leads from the sample to it."""
    samples = [jnp.full(3, 1.0), jnp.full(3, 0.7)]
    predicted = follow(LinearX0(), [0.8], [jnp.full(3, 0.5)], 0.4, samples)
    x0 = 1.0 - 0.8 * 0.5
    np.testing.assert_allclose(predicted, (0.7 - x0) / 0.4, rtol=1e-6)


def test_linear_x0_at_the_ends_is_finite():
    """Pure noise and no noise, where log-SNR is infinite, give no NaN."""
    samples = [jnp.ones(3)] * 4
    velocities = [jnp.ones(3), jnp.zeros(3), jnp.ones(3)]
    predicted = follow(LinearX0(), [1.0, 0.5, 0.1], velocities, 0.0, samples)
    assert jnp.isfinite(predicted).all()


def test_two_velocities_at_one_sigma_are_held():
    """Equal sigmas give no slope, and no division by zero."""
    velocities = [jnp.full(3, 1.0), jnp.full(3, 2.0)]
    predicted = follow(Linear(), [0.5, 0.5], velocities, 0.2)
    np.testing.assert_array_equal(predicted, velocities[-1])


@pytest.mark.parametrize(
    "forecast", [Hold(), Linear(), LinearX0(), Taylor(2), Newton(2)]
)
def test_predictions_keep_the_dtype(forecast):
    """A bfloat16 output is predicted in bfloat16."""
    x = jnp.ones(3, jnp.bfloat16)
    memory = forecast.init(x)
    for step, sigma in enumerate((0.9, 0.5)):
        here = Point(jnp.int32(step), jnp.float32(sigma), x)
        memory = forecast.record(memory, here, x)
    predicted = forecast.predict(memory, Point(jnp.int32(2), jnp.float32(0.3), x))
    assert predicted.dtype == jnp.bfloat16
    # A clean sample is subtracted from the current one, so it is kept exactly.
    kept = jnp.float32 if isinstance(forecast, LinearX0) else jnp.bfloat16
    assert all(
        leaf.dtype == kept
        for leaf in jax.tree.leaves(memory)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.ndim
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize(
    "forecast",
    [
        Hold(),
        Linear(),
        Linear(0.25),
        LinearX0(),
        *(kind(order) for kind in (Taylor, Newton) for order in (1, 2, 3)),
    ],
)
def test_a_value_that_does_not_change_is_predicted_as_it_is(forecast, dtype):
    """Weights that add up to one in bfloat16 only nearly would make another of it."""
    velocity = jnp.array([1.0, -0.7, 300.0], dtype)
    memory = forecast.init(velocity)
    sigmas = np.linspace(0.95, 0.1, 16)
    for step, sigma in enumerate(sigmas):
        # Where x0 stands still: the sample moves along the velocity.
        sample = (jnp.float32(sigma) * velocity.astype(jnp.float32)).astype(dtype)
        here = Point(jnp.int32(step), jnp.float32(sigma), sample)
        if step in (0, 3, 7, 12):
            memory = forecast.record(memory, here, velocity)
        else:
            predicted = forecast.predict(memory, here)
            rtol = 2e-6  # of float32's own sums
            if isinstance(forecast, LinearX0):
                # Of x0 a sample that was rounded says so much and no more.
                rtol = 4 * float(jnp.finfo(dtype).eps) / sigma
            np.testing.assert_allclose(
                predicted.astype(jnp.float32), velocity.astype(jnp.float32), rtol=rtol
            )


def test_numbers_are_leaves():
    """Damping and cap may change, or be mapped, without another program."""
    assert jax.tree.leaves(Linear(0.25, 2.0)) == [0.25, 2.0]
    assert jax.tree.leaves(Hold()) == []


def test_memories_share_no_buffer():
    """Each leaf of an empty memory is its own array, so that all can be donated."""
    leaves = jax.tree.leaves(Linear().init(jnp.ones(3)))
    assert len({id(leaf) for leaf in leaves}) == len(leaves)


def test_names():
    """Forecasts go by name, alone or for each output; typos get the nearest name."""
    assert get_forecast("linear_x0") == LinearX0()
    assert get_forecast({"video": "hold", "action": Linear(0.5)}) == {
        "video": Hold(),
        "action": Linear(0.5),
    }
    with pytest.raises(ValueError, match=r"unknown forecast 'linaer'.*'linear'"):
        get_forecast("linaer")
    with pytest.raises(TypeError, match="forecast is 3"):
        get_forecast(3)
