"""The toy transformer that the caches were recorded on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def toy(weights: Any, x: jax.Array, t: jax.Array, branch: jax.Array) -> jax.Array:
    """Its velocity, float32[rows, tokens, channels].

    Args:
        weights: the recorded weights, and ``ln_eps``.
        x: float32[rows, tokens, channels].
        t: float32[rows], ``1000 * sigma``.
        branch: int32[rows], 0 for conditional rows and 1 for unconditional ones.
    """
    eps = weights["ln_eps"]
    h = x @ weights["We"] + weights["pos"]
    angles = t[:, None] * weights["freqs"]
    features = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)
    e = jax.nn.silu(features @ weights["Wt1"] + weights["bt1"])
    e = (e @ weights["Wt2"] + weights["bt2"] + weights["cond"][branch])[:, None]

    def block(h: jax.Array, part: Any) -> tuple[jax.Array, None]:
        u = _layer_norm(h, eps) * (1 + e @ part["Wsc"]) + e @ part["Wsh"]
        return h + jnp.tanh(u @ part["W1"]) @ part["W2"], None

    blocks = {name: weights[name] for name in ("Wsc", "Wsh", "W1", "W2")}
    h, _ = jax.lax.scan(block, h, blocks)
    return _layer_norm(h, eps) @ weights["Wh"]


def _layer_norm(h: jax.Array, eps: jax.Array) -> jax.Array:
    mean = h.mean(axis=-1, keepdims=True)
    return (h - mean) * jax.lax.rsqrt(h.var(axis=-1, keepdims=True) + eps)
