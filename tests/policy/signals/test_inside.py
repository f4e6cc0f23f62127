"""Signals of caches inside the network measure what the originals measure."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import View
from jax_stepcache.policy.signals import (
    FirstBlocks,
    MagnitudeRatio,
    ModulatedInput,
    Spectrum,
    relative_l1,
)
from jax_stepcache.policy.signals.spectrum import spectral_filter
from jax_stepcache.policy.view import Inside

seeds = st.integers(0, 2**31)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def view(hidden=None, first=None, modulated=None, sample=None, sigma=0.5):
    inside = Inside(hidden, first, modulated, jnp.float32(sigma), jnp.int32(1))
    return View(jnp.int32(0), jnp.float32(sigma), sample, inside)


@given(seed=seeds, eps=st.sampled_from([0.0, 1e-8, 0.5]))
def test_relative_l1(seed, eps):
    """Mean difference over mean size: once over the batch, or for each sample."""
    old, new = draw(seed, 2, 3, 4, 5)
    over = np.abs(new - old).mean() / (np.abs(old).mean() + eps)
    np.testing.assert_allclose(relative_l1(old, new, eps), over, rtol=1e-5)
    each = [
        np.abs(b - a).mean() / (np.abs(a).mean() + eps)
        for a, b in zip(old, new, strict=True)
    ]
    apart = relative_l1(old, new, eps, per_sample=True)
    np.testing.assert_allclose(apart, np.mean(each), rtol=1e-5)


def test_relative_l1_is_float32():
    """Low precision is widened before anything is summed."""
    old = jnp.ones((1, 4000), jnp.bfloat16)
    new = old.at[0, 0].set(2)
    assert relative_l1(old, new).dtype == jnp.float32
    np.testing.assert_allclose(relative_l1(old, new), 1 / 4000, rtol=1e-5)
    assert np.isnan(relative_l1(0 * old, 0 * old))
    assert relative_l1(0 * old, 0 * old, 1e-8) == 0


def test_modulated_input_looks_at_the_step_before():
    """TeaCache compares with the step before, whether that was computed or not."""
    u = [draw(seed, 1, 4, 3) for seed in range(4)]
    signal = ModulatedInput()
    state = signal.init(view(modulated=jnp.asarray(u[0])))
    seen = []
    for step, new in enumerate(u):
        value, state = signal.measure(state, view(modulated=jnp.asarray(new)))
        if step == 1:
            state = signal.record(state, view(modulated=jnp.asarray(new)), None)
        seen.append(float(value))
    assert np.isnan(seen[0])
    expected = [
        np.abs(b - a).mean() / (np.abs(a).mean() + 1e-8)
        for a, b in itertools.pairwise(u)
    ]
    np.testing.assert_allclose(seen[1:], expected, rtol=1e-5)


def test_first_blocks_look_at_the_last_computed_step():
    """DBCache compares with the last step that ran, however long ago."""
    f = [draw(seed, 1, 4, 3) for seed in range(5)]
    signal = FirstBlocks()
    state = signal.init(view(first=jnp.asarray(f[0])))
    computed, last = [True, False, False, True, False], None
    for new, ran in zip(f, computed, strict=True):
        value, state = signal.measure(state, view(first=jnp.asarray(new)))
        if last is None:
            assert np.isnan(value)
        else:
            expected = np.abs(new - last).mean() / np.abs(last).mean()
            np.testing.assert_allclose(value, expected, rtol=1e-5)
        if ran:
            state = signal.record(state, view(first=jnp.asarray(new)), None)
            last = new


def test_magnitude_ratio_of_successive_residuals():
    """Mean over tokens of the ratio of norms; 1 until there are two."""
    residuals = [draw(seed, 2, 4, 3) for seed in range(3)]
    signal, here = MagnitudeRatio(), view(hidden=jnp.asarray(residuals[0]))
    state, norm = signal.init(here), lambda x: np.linalg.norm(x, axis=-1)
    expected = [1.0, 1.0, (norm(residuals[1]) / norm(residuals[0])).mean()]
    for residual, ratio in zip(residuals, expected, strict=True):
        value, state = signal.measure(state, here)
        np.testing.assert_allclose(value, ratio, rtol=1e-5)
        state = signal.record(state, here, jnp.asarray(residual))


@given(
    seed=seeds,
    sigma=st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    power=st.sampled_from([2.0, 3.0]),
)
def test_spectral_filter_follows_the_rule(seed, sigma, power):
    """SeaCache's kernel in NumPy, float64: Wiener's gains, of mean 1 over all axes."""
    x = draw(seed, 1, 2, 5, 1, 3)
    a, s = (np.clip(v, 1e-6, 1 - 1e-6) for v in (1 - sigma, sigma))
    kernel = np.ones(())
    for length in (2, 5, 1):
        c = 1 / (np.abs(np.fft.fftfreq(length)) ** power + 1e-16)
        kernel = kernel[..., None] * (a * c / (a * a * c + s * s + 1e-16))
    kernel = (kernel / kernel.mean())[None, ..., None]
    expected = np.fft.ifftn(
        np.fft.fftn(x, axes=(1, 2, 3)) * kernel, axes=(1, 2, 3)
    ).real
    ours = spectral_filter(jnp.asarray(x), jnp.float32(sigma), (1, 2, 3), power)
    np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-3)


def test_spectrum_looks_at_the_step_before():
    """The first step shows NaN, an unchanged sample 0, a changed one more."""
    x = jnp.asarray(draw(0, 1, 2, 5, 1, 3))
    signal = Spectrum()
    state = signal.init(view(sample=x))
    value, state = signal.measure(state, view(sample=x))
    assert np.isnan(value)
    value, state = signal.measure(state, view(sample=x))
    assert value == 0
    value, _ = signal.measure(state, view(sample=-x))
    np.testing.assert_allclose(value, 2, rtol=1e-5)


def test_spectrum_of_an_output():
    """Of several outputs one is named; axes are all but first and last, or given."""
    x = {"video": jnp.asarray(draw(0, 1, 2, 4, 3)), "action": jnp.zeros((1, 2))}
    sigmas = {"video": jnp.float32(0.5), "action": jnp.float32(0.5)}
    here = View(jnp.int32(0), sigmas, x)
    assert Spectrum(output="video").init(here).last.shape == (1, 2, 4, 3)
    with pytest.raises(ValueError, match=r"output None; the sample has"):
        Spectrum().init(here)
    with pytest.raises(ValueError, match=r"axes \(4,\) of a sample of shape"):
        Spectrum(axes=(4,), output="video").init(here)
    with pytest.raises(ValueError, match=r"axes \(\) of a sample of shape \(1, 2\)"):
        Spectrum().init(View(jnp.int32(0), jnp.float32(1), x["action"]))


@pytest.mark.parametrize("signal", [FirstBlocks(), ModulatedInput()])
def test_inside_signals_say_where_they_belong(signal):
    """Outside of a network there is nothing inside to look at."""
    x = jnp.ones((1, 2))
    with pytest.raises(ValueError, match="the signal looks at the"):
        signal.init(View(jnp.int32(0), jnp.float32(1), x))


def test_settings_of_the_spectrum_are_data():
    """The exponent is a leaf; axes and output are structure; the others have none."""
    assert jax.tree.leaves(Spectrum(2.0, (1,), "video")) == [2.0]
    for signal in (FirstBlocks(), ModulatedInput(), MagnitudeRatio()):
        assert jax.tree.leaves(signal) == []
