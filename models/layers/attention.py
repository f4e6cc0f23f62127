"""Softmax attention, and what it reads."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class KeysValues(NamedTuple):
    """Keys and values of one attention.

    Attributes:
        k: (B, tokens, heads, head_dim); with a leading layer axis where stacked.
        v: like ``k``.
    """

    k: jax.Array
    v: jax.Array


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    kernel: str,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention.

    Args:
        q: (B, L, heads, head_dim).
        k: (B, K, heads, head_dim).
        v: like ``k``.
        kernel: ``"xla"``, which runs anywhere, or ``"cudnn"``, which keeps no matrix
            of L x K and needs a GPU and 16-bit floats.
        mask: (B or 1, 1, 1 or L, K) bool, or None.

    Returns:
        (B, L, heads, head_dim).
    """
    if kernel == "cudnn" and mask is not None:
        # It takes a mask for every query only.
        mask = jnp.broadcast_to(mask, (q.shape[0], 1, q.shape[1], k.shape[1]))
    # JAX's own has no other way to say that logits are float32.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(
            q,
            k,
            v,
            mask=mask,
            implementation="cudnn" if kernel == "cudnn" else "xla",
        )


def split_heads(x: jax.Array, num_heads: int) -> jax.Array:
    """Splits (..., L, D) into (..., L, heads, head_dim)."""
    return x.reshape(*x.shape[:-1], num_heads, -1)
