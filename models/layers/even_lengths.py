"""Attention over even numbers of tokens, the only ones that cuDNN has gradients for."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def with_even_lengths(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, kernel: str
) -> jax.Array:
    """Softmax attention, with a query and a key more where their number is odd.

    Args:
        q: (B, L, heads, head_dim).
        k: (B, K, heads, head_dim).
        v: like ``k``.
        mask: (B or 1, 1, L, K) bool, or None.
        kernel: ``"xla"`` or ``"cudnn"``.

    Returns:
        (B, L, heads, head_dim).
    """
    batch, queries, keys = q.shape[0], q.shape[1], k.shape[1]
    more_queries, more_keys = queries % 2, keys % 2
    lengths = None
    if mask is not None:
        # The added query sees something: a softmax over no key at all is not finite.
        one = ((0, 0), (0, 0), (0, more_queries), (0, 0))
        mask = jnp.pad(mask, one, constant_values=True)
        mask = jnp.pad(mask, ((0, 0), (0, 0), (0, 0), (0, more_keys)))
    elif more_keys:
        lengths = jnp.full((batch,), keys, jnp.int32)
    # JAX's own has no other way to say that logits are float32.
    with jax.numpy_dtype_promotion("standard"):
        y = jax.nn.dot_product_attention(
            _longer(q, more_queries),
            _longer(k, more_keys),
            _longer(v, more_keys),
            mask=mask,
            key_value_seq_lengths=lengths,
            implementation="cudnn" if kernel == "cudnn" else "xla",
        )
    return y[:, :queries]


def _longer(x: jax.Array, by: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, by), (0, 0), (0, 0)))
