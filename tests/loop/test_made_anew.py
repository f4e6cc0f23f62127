"""Tokens that are many are embedded again rather than kept while blocks run."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache.loop import forward

from ..staged import SKIPPING, run


@pytest.mark.slow
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("cache", ["tea_cache", "mag_cache", "cache_dit"])
def test_the_sample_is_the_same(
    cache: str, guided: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: the decisions are the same, and the sample to rounding."""
    kept = run(cache, SKIPPING[cache], guided=guided)
    assert not kept.stats.computed.all()
    monkeypatch.setattr(forward, "LARGE", 0)
    jax.clear_caches()
    made = run(cache, SKIPPING[cache], guided=guided)
    monkeypatch.undo()
    jax.clear_caches()
    np.testing.assert_array_equal(made.stats.computed, kept.stats.computed)
    np.testing.assert_allclose(made.sample, kept.sample, rtol=1e-5, atol=1e-5)
