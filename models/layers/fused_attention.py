"""cuDNN's fused attention: where it runs, and what JAX's public function leaves out.

`jax.nn.dot_product_attention` rounds the logarithm of the softmax's sum to 16 bits,
which is too coarse to merge two attentions by, so this calls the function below it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

try:
    from jax._src.cudnn.fused_attention_stablehlo import (
        MaskType,
        dot_product_attention,
    )
except ImportError:  # Not JAX's promise: without it, keys are concatenated.
    MaskType = dot_product_attention = None


def can_run(q: jax.Array) -> bool:
    """Whether there is a GPU, and the kernel takes such queries (..., head_dim)."""
    half = q.dtype in (jnp.bfloat16, jnp.float16)
    fits = q.shape[-1] <= 128 and q.shape[-1] % 8 == 0
    return half and fits and jax.default_backend() == "gpu"


def has_residual() -> bool:
    """Whether this JAX has what `attend_with_residual` calls."""
    return dot_product_attention is not None


def attend_with_residual(
    q: jax.Array, k: jax.Array, v: jax.Array, count: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Softmax attention to the first of the keys, and how large its sum was.

    Args:
        q: (B, L, heads, head_dim), of 16-bit floats.
        k: (B, K, heads, head_dim), likewise.
        v: like ``k``.
        count: (B,) int32, how many of the keys each sequence has, at most K; None for
            all. Others are not computed. Of none, the result may be anything.

    Returns:
        (B, L, heads, head_dim), and the logarithm of the sum of the exponentials of the
        logits, (B, L, heads) float32.
    """
    assert dot_product_attention is not None, "see has_residual"
    assert MaskType is not None
    batch, queries, _, width = q.shape
    lengths: dict[str, Any] = {}
    if count is not None:
        every = jnp.full((batch,), queries, jnp.int32)
        lengths = {"q_seqlen": every, "kv_seqlen": count.astype(jnp.int32)}
    found: Any = dot_product_attention(
        q,
        k,
        v,
        **lengths,
        scale=width**-0.5,
        mask_type=MaskType.NO_MASK if count is None else MaskType.PADDING,
        return_residual=True,
    )
    y, residual = found
    return y, residual.swapaxes(1, 2)
