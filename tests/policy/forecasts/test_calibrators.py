"""Forecasts of HiCache, of cache-dit's calibrators, of EasyCache and of DiCache.

cache-dit's own runs are in `tests/data/caches`; HiCache, EasyCache and DiCache are
scripts for CUDA, so here NumPy says anew what they do.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax_stepcache import DMD, Aligned, FoCa, Hermite, Offset
from jax_stepcache.policy.forecasts import Point, get_forecast

SPREAD = jnp.array([[1.0, -0.5, 2.0]])
numbers = st.integers(-8, 8).map(lambda n: n / 4)


def point(step, sample=None, first=None):
    return Point(jnp.int32(step), jnp.float32(0.5), sample, first)


def follow(forecast, computed, values):
    """The value of every step: that of a computed one, and else the forecast."""
    memory, used = forecast.init(jnp.zeros(values[0].shape)), []
    for step, (runs, value) in enumerate(zip(computed, values, strict=True)):
        at = point(step)
        if runs:
            memory = forecast.record(memory, at, jnp.asarray(value, jnp.float32))
            used.append(np.asarray(value))
        else:
            used.append(np.asarray(forecast.predict(memory, at)))
    return np.array(used)


@settings(max_examples=20)
@given(
    values=st.lists(numbers, min_size=4, max_size=4),
    spacing=st.integers(1, 3),
    reach=st.integers(1, 4),
    scale=st.sampled_from([0.25, 0.5, 0.7, 1.0]),
    order=st.integers(0, 3),
)
def test_hermite_is_hicaches_series(values, spacing, reach, scale, order):
    """``F + sum_i s^i H_i(s k) / i! d_i``: NumPy's own Hermite polynomials say so."""
    steps = [spacing * i for i in range(4)]
    forecast = Hermite(order, scale)
    memory = forecast.init(jnp.zeros(3))
    differences, last = {}, -1
    for step, value in zip(steps, values, strict=True):
        memory = forecast.record(memory, point(step), SPREAD[0] * value)
        new = {0: value}
        for i in range(order):
            if i in differences:
                new[i + 1] = (new[i] - differences[i]) / max(step - last, 1)
        differences, last = new, step
    expected = sum(
        scale**i
        * np.polynomial.hermite.hermval(scale * reach, [0] * i + [1])
        / math.factorial(i)
        * difference
        for i, difference in differences.items()
    )
    ours = forecast.predict(memory, point(steps[-1] + reach))
    np.testing.assert_allclose(ours, SPREAD[0] * expected, rtol=1e-4, atol=1e-3)


@settings(max_examples=20)
@given(
    skips=st.lists(st.booleans(), min_size=12, max_size=12),
    values=st.lists(numbers, min_size=12, max_size=12),
)
def test_foca_leans_on_its_own_predictions(skips, values):
    """Each prediction takes the two values before it, computed or not."""
    computed = [True, *(not skip for skip in skips[1:])]
    used, full, at, window = [], [], 0, []
    for step, value in enumerate(values):
        if computed[step]:
            full, at = [*full[-1:], value], step
            window = [*window[-1:], value]
            used.append(value)
            continue
        if len(full) < 2:
            used.append(full[-1])
            continue
        reach = step - at
        slope, local = full[1] - full[0], window[1] - window[0]
        heun = min(reach, 3) / 2 * (slope + local)
        new = full[1] + heun * min(1.0, 3 / reach)
        window = [window[-1], new]
        used.append(new)
    ours = follow(FoCa(), computed, [np.full((1, 2), value) for value in values])
    np.testing.assert_allclose(ours[:, 0, 0], used, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spacing", [1, 3])
def test_dmd_is_exact_for_exponentials(spacing):
    """A damped wave and a decay go on as they were; for each sample its own."""
    draw = np.random.default_rng(0)
    patterns = draw.normal(size=(2, 3, 8))
    steps = np.arange(8 * spacing + 1)

    def value(step):
        wave = 0.97**step * np.array([np.cos(0.1 * step), np.sin(0.1 * step)])
        other = np.array([0.9**step, 1.0, 0.5**step])
        first = np.einsum("i,ij->j", [*wave, 0.9**step], patterns[0])
        return np.stack([first, other @ patterns[1]])

    computed = [step % spacing == 0 and step < 6 * spacing for step in steps]
    exact = [value(step).astype(np.float32) for step in steps]
    ours = follow(DMD(), computed, exact)
    later = slice(5 * spacing + 1, None)
    np.testing.assert_allclose(ours[later], np.array(exact)[later], atol=2e-3)


def test_dmd_holds_what_does_not_move():
    """Values that are all zero, or all the same, have a fit too."""
    for constant in (0.0, 2.0):
        values = [np.full((1, 3), constant, np.float32)] * 8
        computed = [True] * 5 + [False] * 3
        ours = follow(DMD(), computed, values)
        np.testing.assert_allclose(ours, np.array(values), atol=1e-5)


def test_offset_moves_with_the_sample():
    """The last velocity, and what the sample has moved since."""
    x, v, there = SPREAD, jnp.array([[0.5, 1.0, -1.0]]), 3 * SPREAD
    memory = Offset().record(Offset().init(x), point(0, x), v)
    predicted = Offset().predict(memory, point(1, there))
    np.testing.assert_allclose(predicted, v + there - x, rtol=1e-6)


def test_aligned_goes_as_far_as_the_first_blocks():
    """Between the last residual and 1.5 times its way, by how far the probe is."""
    forecast, rest = Aligned(), jnp.array([[1.0, 3.0], [2.0, 4.0]])
    firsts = jnp.array([[1.0, 1.0], [2.0, 2.0]])
    memory = forecast.init(rest[:1])
    for i in range(2):
        at = point(i, first=firsts[i : i + 1])
        memory = forecast.record(memory, at, rest[i : i + 1])
    residuals = rest + firsts
    for first, share in ((1.5, 1.0), (2.3, 1.3), (9.0, 1.5)):
        here = jnp.full((1, 2), first)
        ours = forecast.predict(memory, point(2, first=here))
        line = residuals[0] + share * (residuals[1] - residuals[0])
        np.testing.assert_allclose(ours[0], line - first, rtol=1e-5)
    still = forecast.record(memory, point(2, first=firsts[1:]), rest[1:])
    ours = forecast.predict(still, point(3, first=firsts[1:]))
    np.testing.assert_allclose(ours, rest[1:], rtol=1e-6)


@pytest.mark.parametrize("forecast", [Hermite(2), FoCa(), DMD()])
def test_a_value_that_stays_is_predicted_in_bfloat16(forecast):
    """Weights are reckoned with in float32: what never changes comes out as it is."""
    value = jnp.full((1, 4), 1.7, jnp.bfloat16)
    memory = forecast.init(value)
    for step in range(6):
        memory = forecast.record(memory, point(step), value)
    ours = forecast.predict(memory, point(8))
    assert ours.dtype == value.dtype
    assert (ours == value).all()


def test_bad_numbers():
    """A number that no forecast has a use for is an error by name."""
    for numbered, message in (
        ({"name": "hermite", "scale_factor": float("nan")}, "scale_factor is nan"),
        ({"name": "hermite", "order": -1}, "order is -1"),
        ({"name": "dmd", "history": 2}, "history is 2; at least 4"),
        ({"name": "dmd", "rank": -1}, "rank is -1"),
        ({"name": "dmd", "ridge": -1.0}, "ridge is -1.0"),
        ({"name": "aligned", "max_ratio": 0.5}, "max_ratio is 0.5"),
        ({"name": "foca", "order": 1}, "unknown forecast setting 'order'"),
    ):
        with pytest.raises(ValueError, match=message):
            get_forecast(numbered)


def test_derivatives_are_finite():
    """Where the fit is degenerate, too: its weights are constants to a derivative."""

    def predicted(value):
        memory = DMD().init(value)
        for step in range(5):
            memory = DMD().record(memory, point(step), value)
        return DMD().predict(memory, point(6)).sum()

    assert jnp.isfinite(jax.grad(predicted)(SPREAD)).all()
