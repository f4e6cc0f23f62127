"""Attention to keys of earlier tokens and to a sequence's own, as if they were one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.loop.gradient import with_derivatives_of

from . import fused_attention
from .attention import KeysValues, attend

Part = Callable[
    [jax.Array, jax.Array, jax.Array, jax.Array | None], tuple[jax.Array, jax.Array]
]
"""``(q, k, v, count)``, see `fused_attention.attend_with_residual`."""


class Seen(NamedTuple):
    """Which keys the queries attend to: cached ones, then their own.

    Attributes:
        mask: (B or 1, 1, 1 or L, K + L) bool.
        cached: (B,) int32, the same of the K cached keys, where each query sees the
            first so many of them; None where that is not so.
        own: (B,) int32, likewise of the queries' own keys; None for all of these.
    """

    mask: jax.Array
    cached: jax.Array | None = None
    own: jax.Array | None = None


class _Given(NamedTuple):
    q: jax.Array
    own: KeysValues
    cached: KeysValues
    seen: Seen


def attend_window(
    q: jax.Array, own: KeysValues, cached: KeysValues, seen: Seen, kernel: str | None
) -> jax.Array:
    """Softmax attention to cached and own keys together.

    Args:
        q: (B, L, heads, head_dim).
        own: of as many tokens.
        cached: (B, K, heads, head_dim), of any float dtype.
        seen: which of them.
        kernel: see `attend`. The fused one attends to cached and own keys apart and
            merges the two: nothing is concatenated and no mask made, and keys that
            nobody sees are not computed.

    Returns:
        (B, L, heads, head_dim).
    """
    given = _Given(q, own, KeysValues(*(x.astype(q.dtype) for x in cached)), seen)
    if seen.cached is None or not fused_attention.has_residual():
        return concatenated(given, kernel)

    def plain(given: _Given) -> jax.Array:
        return concatenated(given, "xla")

    def fused(given: _Given) -> jax.Array:
        return merged(given, fused_attention.attend_with_residual)

    # cuDNN's derivatives know nothing of what the two attentions are merged by.
    apart = with_derivatives_of(plain, fused)
    if kernel == "cudnn":
        return apart(given)
    if kernel is None and fused_attention.can_run(q):
        return jax.lax.platform_dependent(given, cuda=apart, default=plain)
    return plain(given)


def concatenated(given: _Given, kernel: str | None) -> jax.Array:
    """One attention to all keys, under a mask; see `attend_window`."""
    q, own, cached, seen = given
    k = jnp.concatenate([cached.k, own.k], axis=1)
    v = jnp.concatenate([cached.v, own.v], axis=1)
    # A weight of zero times what is not finite, in a place that nobody sees, is NaN.
    v = jnp.where(seen.mask.any(axis=(1, 2))[:, :, None, None], v, 0)
    return attend(q, k, v, kernel, seen.mask)


def merged(given: _Given, part: Part) -> jax.Array:
    """Two attentions, weighted by their shares of the softmax's sum.

    Args:
        given: see `attend_window`.
        part: computes one of them.

    Returns:
        (B, L, heads, head_dim).
    """
    q, own, cached, seen = given
    y, residual = part(q, *own, seen.own)
    earlier, earlier_residual = part(q, *cached, seen.cached)
    share = jax.nn.sigmoid(residual - earlier_residual)[..., None]
    both = share * y.astype(share.dtype) + (1 - share) * earlier.astype(share.dtype)
    # Of no keys at all, an attention may be anything.
    assert seen.cached is not None
    nothing = (seen.cached == 0)[:, None, None, None]
    return jnp.where(nothing, y, both.astype(y.dtype))
