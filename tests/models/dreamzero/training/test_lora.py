"""Adapters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero.training import (
    init_lora,
    merge_lora,
)

from ..small import SMALL, random_weights


def test_fresh_adapters_change_nothing_and_trained_ones_only_what_they_adapt() -> None:
    """``W + alpha / rank * a @ b`` with b zero; then the named matrices alone move."""
    weights = jax.tree.map(jnp.asarray, random_weights(SMALL))
    lora = init_lora(weights, 2, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, merge_lora(weights, lora, 4.0), weights)
    lora["adapters"] = jax.tree.map(jnp.ones_like, lora["adapters"])
    merged = merge_lora(weights, lora, 4.0)
    change = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), merged, weights)
    moved = {
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, size in jax.tree_util.tree_leaves_with_path(change)
        if size
    }
    assert moved == {f"blocks.{name}.kernel" for name in lora["adapters"]}
    kernel = merged["blocks"]["ffn"]["layer1"]["kernel"]
    np.testing.assert_allclose(
        kernel - weights["blocks"]["ffn"]["layer1"]["kernel"], 4.0, rtol=1e-5
    )
    with pytest.raises(ValueError, match="rank of LoRA is 0"):
        init_lora(weights, 0, jax.random.key(0))
