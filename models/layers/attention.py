"""Softmax attention, and what it reads."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.errors import unknown_name
from jax_stepcache.loop.gradient import with_derivatives_of

from . import fused_attention
from .even_lengths import with_even_lengths

KERNELS = ("xla", "cudnn")
"""What can compute an attention, see `attend`."""


class KeysValues(NamedTuple):
    """Keys and values of one attention.

    Attributes:
        k: (B, tokens, heads, head_dim); of several layers with a leading layer axis, or
            `Layers`.
        v: like ``k``.
    """

    k: jax.Array
    v: jax.Array


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    kernel: str | None,
    mask: jax.Array | None = None,
) -> jax.Array:
    """Softmax attention.

    Args:
        q: (B, L, heads, head_dim).
        k: (B, K, heads, head_dim).
        v: like ``k``.
        kernel: ``"xla"``, which runs anywhere; ``"cudnn"``, which keeps no matrix of
            L x K and needs a GPU and 16-bit floats; None for that one where it can run,
            and elsewhere the other.
        mask: (B or 1, 1, 1 or L, K) bool, or None.

    Returns:
        (B, L, heads, head_dim).
    """

    def plain(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention(q, k, v, mask, "xla")

    def fused(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        # It takes a mask for every query only.
        every = (len(mask), 1, q.shape[1], k.shape[1]) if mask is not None else ()
        full = None if mask is None else jnp.broadcast_to(mask, every)

        def even(given: tuple[jax.Array, ...]) -> jax.Array:
            q, k, v = given
            return with_even_lengths(q, k, v, full, "cudnn")

        def as_it_is(given: tuple[jax.Array, ...]) -> jax.Array:
            q, k, v = given
            return attention(q, k, v, full, "cudnn")

        return with_derivatives_of(even, as_it_is)((q, k, v))

    if kernel == "cudnn":
        return fused(q, k, v)
    if kernel is None and fused_attention.can_run(q):
        return jax.lax.platform_dependent(q, k, v, cuda=fused, default=plain)
    return plain(q, k, v)


def check_kernel(kernel: str | None, dtype: str) -> None:
    """Checks that a kernel is known, and takes activations of a dtype.

    Raises:
        ValueError: if it is not, or does not.
    """
    if kernel is not None and kernel not in KERNELS:
        raise ValueError(unknown_name("attention", kernel, KERNELS))
    if kernel == "cudnn" and dtype not in ("bfloat16", "float16"):
        raise ValueError(
            f"attention 'cudnn' needs dtype bfloat16 or float16, got {dtype}"
        )


def attention(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, kernel: str
) -> jax.Array:
    """JAX's own; arguments are those of `attend`."""
    # It has no other way to say that logits are float32.
    with jax.numpy_dtype_promotion("standard"):
        return jax.nn.dot_product_attention(
            q, k, v, mask=mask, implementation="cudnn" if kernel == "cudnn" else "xla"
        )


def split_heads(x: jax.Array, num_heads: int) -> jax.Array:
    """Splits (..., L, D) into (..., L, heads, head_dim)."""
    return x.reshape(*x.shape[:-1], num_heads, -1)
