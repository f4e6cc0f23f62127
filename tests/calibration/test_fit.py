"""Fits of what was seen on trajectories."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Span, StagedDenoiser, explicit_schedule
from jax_stepcache.calibration import fit_polynomial
from jax_stepcache.calibration.fit import fit_response, mean_ratios
from jax_stepcache.calibration.trajectory import Trajectory, watch

QUARTIC = (3.0, -2.0, 0.5, 1.25, -0.1)
CHANGES = np.linspace(0.05, 0.9, 20)


def test_a_quartic_is_recovered():
    """Coefficients come back highest power first, and explain everything."""
    fit = fit_polynomial(CHANGES, np.polyval(QUARTIC, CHANGES))
    np.testing.assert_allclose(fit.coefficients, QUARTIC, atol=1e-6)
    assert fit.r_squared == pytest.approx(1.0, abs=1e-9)


def test_noise_is_not_explained():
    """R² is the share of the variance that the polynomial explains, by hand."""
    noise = np.random.default_rng(0).normal(0, 0.2, CHANGES.shape)
    y = np.polyval(QUARTIC, CHANGES) + noise
    fit = fit_polynomial(CHANGES, y)
    left = y - np.polyval(fit.coefficients, CHANGES)
    assert fit.r_squared == pytest.approx(1 - left.var() / y.var(), abs=1e-3)
    assert 0.5 < fit.r_squared < 0.999


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (6, 5), (0, 0)])
def test_too_few_steps_for_a_polynomial(inputs, outputs):
    """Five unknowns need five steps, and as many inputs as outputs."""
    with pytest.raises(ValueError, match=f"got {inputs} and {outputs}"):
        fit_polynomial(np.arange(inputs), np.arange(outputs))


def test_ratios_are_means_over_trajectories_and_branches():
    """One ratio a step; the first, of which there is none, is 1."""
    first = np.array([[np.nan, np.nan], [0.5, 0.7], [2.0, 1.0]])
    second = np.array([[np.nan, np.nan], [0.9, 1.1], [3.0, 2.0]])
    watched = [SimpleNamespace(seen=SimpleNamespace(ratio=x)) for x in (first, second)]
    assert mean_ratios(watched) == (1.0, 0.8, 2.0)


def test_what_is_watched_of_a_network_that_is_known():
    """Ratios of residuals and changes of the modulated input, as worked out by hand."""
    times = np.array([1000.0, 800.0, 500.0, 100.0])
    schedule = explicit_schedule([*times / 1000, 0.0], times)

    def embed(weights, x, t, condition):
        return jnp.ones((len(x), 2, 4)), t

    def blocks(weights, hidden, t, start, stop):
        return hidden + (1 + t / 1000)[:, None, None] * jnp.ones(4)

    def head(weights, hidden, t):
        return hidden[:, 0, :3]

    def modulated(weights, hidden, t):
        return hidden * t[:, None, None]

    known = StagedDenoiser(1, embed, blocks, head, modulated)
    options = {"model": known, "schedule": schedule, "solver": "euler"}
    samples = [{"noise": jnp.ones((1, 3))}]
    found = watch((), samples, Span(), "modulated", **options)
    norms = 1 + times / 1000
    wanted = (1.0, *(norms[1:] / norms[:-1]))
    np.testing.assert_allclose(mean_ratios(found), wanted, atol=1e-6)
    seen = found[0].seen
    for name, values in (("input_change", times), ("output_change", 1 + norms)):
        change = np.asarray(getattr(seen, name))[:, 0]
        wanted = np.abs(np.diff(values)) / values[:-1]
        assert change[0] == 0
        np.testing.assert_allclose(change[1:], wanted, rtol=1e-5)


def _made(samples, velocities, computed):
    """A trajectory out of thin air."""
    return Trajectory(samples, velocities, np.asarray(computed, bool), None, None)


def test_a_linear_response_is_recovered():
    """The slope over what moved, at each step and output; the nearest step's else."""
    schedule = explicit_schedule([1.0, 0.75, 0.5, 0.25, 0.0])
    sigma = np.array([1.0, 0.75, 0.5, 0.25], np.float32)[:, None]
    draw = np.random.default_rng(1).normal
    slopes = {
        "a": np.array([9.0, 0.8, 0.4, 0.2], np.float32),
        "b": np.array([9.0, -0.5, 0.1, 0.6], np.float32),
    }
    samples, velocities = (
        {name: draw(size=(4, 2, 3)).astype(np.float32) for name in slopes}
        for _ in range(2)
    )
    uncached = _made(samples, velocities, [1, 1, 1, 1])

    def departed(computed):
        moved = {n: draw(size=(4, 2, 3)).astype(np.float32) for n in slopes}
        for change in moved.values():
            change[0] = 0  # All begin with the same noise.
        answer = {
            n: slopes[n][:, None] * (moved[n].reshape(4, -1) / sigma) for n in slopes
        }
        # What was not computed is no answer of the network's.
        said = {
            n: np.where(np.reshape(computed, (4, 1)), answer[n], 50.0) for n in slopes
        }
        return _made(
            {n: samples[n] + moved[n] for n in slopes},
            {n: velocities[n] + said[n].reshape(4, 2, 3) for n in slopes},
            computed,
        )

    cached = [departed([1, 1, 0, 0]), departed([1, 0, 1, 0])]
    found = fit_response(uncached, cached, schedule)
    assert jax.tree.structure(found) == jax.tree.structure(slopes)
    for name, wanted in slopes.items():
        # Nothing moved at the first step, and nobody computed the last.
        np.testing.assert_allclose(found[name], wanted[[1, 1, 2, 2]], atol=1e-4)


def test_nothing_moved_nothing_learnt():
    """Without cached trajectories the response is 1."""
    schedule = explicit_schedule([1.0, 0.5, 0.0])
    arrays = np.ones((2, 1, 3), np.float32)
    uncached = _made(arrays, arrays, [1, 1])
    np.testing.assert_array_equal(fit_response(uncached, [], schedule), [1, 1])
    np.testing.assert_array_equal(fit_response(uncached, [uncached], schedule), [1, 1])
