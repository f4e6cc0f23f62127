"""Caching beside the uncached sampler, and beside fewer steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import load_params, sample
from jax_stepcache.measure.compare import Contender, compare, contenders, policy_of
from jax_stepcache.measure.metrics import psnr, rmse, ssim


def test_psnr_is_decibels_of_the_peak_over_the_error():
    """A picture off by a tenth everywhere is 20 dB away, whatever its size."""
    x = jnp.zeros((2, 4, 4, 1))
    np.testing.assert_allclose(psnr(x, x + 0.1), 20.0, atol=1e-4)
    assert math.isinf(float(psnr(x, x)))
    np.testing.assert_allclose(rmse(x, x + 0.1), 0.1, atol=1e-6)


@pytest.mark.slow
def test_ssim_compares_means_variances_and_covariances():
    """By the paper's formula in each 7 x 7 window; 1 for equal pictures."""
    draw = np.random.default_rng(0)
    a = draw.random((2, 9, 8, 3)).astype(np.float32)
    b = np.clip(a + 0.2 * draw.standard_normal(a.shape), 0, 1).astype(np.float32)
    each = []
    for picture, channel, y, x in np.ndindex(2, 3, 3, 2):
        one, other = (c[picture, y : y + 7, x : x + 7, channel].ravel() for c in (a, b))
        (var, both), (_, vary) = np.cov(one, other)
        means = one.mean(), other.mean()
        alike = (2 * means[0] * means[1] + 1e-4) * (2 * both + 9e-4)
        spread = means[0] ** 2 + means[1] ** 2 + 1e-4
        each.append(alike / (spread * (var + vary + 9e-4)))
    assert float(ssim(a, b)) == pytest.approx(np.mean(each), abs=1e-5)
    assert float(ssim(a, a)) == pytest.approx(1.0)


@pytest.mark.slow
def test_rows_are_the_cache_the_tuned_schedule_and_as_many_plain_steps():
    """All from the same noise; the first is what the others are compared with."""
    params = load_params("dit")
    digits, key = {"label": jnp.arange(2)}, jax.random.key(0)
    options = {"observation": digits, "key": key}
    rows = contenders(
        params, "static", {}, {"cache_config": {"num_dit_steps": 8}}, **options
    )
    names = ["uncached", "static", "tuned, 8 calls", "8 plain steps"]
    assert [row.name for row in rows] == names
    found = compare(params, rows, repeats=1, **options)
    calls = [int(row.result.stats.model_calls) for row in found]
    assert calls == [16, 8, 8, 8]
    assert math.isinf(found[0].psnr)
    assert found[0].speedup == 1.0
    assert all(math.isfinite(row.psnr) for row in found[1:])
    assert all(math.isnan(row.action_rmse) for row in found)


def test_a_table_is_a_schedule_for_loops_of_ones_own():
    """What steps by a table elsewhere does so there; it is not all steps uncached."""
    params = load_params("dit")
    digits, key = {"label": jnp.arange(2)}, jax.random.key(0)
    for cache in ("bespoke", "tuned"):
        row = Contender(cache, {"cache": cache, "budget": 4})
        policy, options = policy_of(params, row)
        given = sample(params, observation=digits, key=key, cache=policy, **options)
        wanted = sample(params, observation=digits, key=key, **row.options)
        assert given.stats.model_calls == wanted.stats.model_calls == 4
        np.testing.assert_array_equal(given.sample, wanted.sample)
    row = Contender("tuned", {"cache": "tuned", "budget": 4, "solver": "euler"})
    policy, options = policy_of(params, row)
    assert options == {"solver": "euler"}
    assert int(policy.gate.mask.sum()) == 4
