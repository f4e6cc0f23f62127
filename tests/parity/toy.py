"""The toy transformer that the caches were recorded on."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Time(NamedTuple):
    """What the toy's blocks read besides the tokens."""

    e: jax.Array
    shape: tuple[int, ...]


class Toy:
    """The toy in stages; called, it is the whole network.

    Attributes:
        num_blocks: its blocks.
    """

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks

    def __call__(self, weights: Any, x: Any, t: Any, branch: Any) -> jax.Array:
        """Its velocity, float32[rows, ..., channels].

        Args:
            weights: the recorded weights, and ``ln_eps``.
            x: float32[rows, ..., channels]; the axes between are its tokens.
            t: float32[rows], ``1000 * sigma``.
            branch: int32[rows], 0 for conditional rows and 1 for unconditional ones.
        """
        h, context = self.embed(weights, x, t, branch)
        h = self.blocks(weights, h, context, 0, self.num_blocks)
        return self.head(weights, h, context)

    def embed(self, weights: Any, x: Any, t: Any, branch: Any) -> tuple[Any, Time]:
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        h = tokens @ weights["We"] + weights["pos"]
        angles = t[:, None] * weights["freqs"]
        features = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)
        e = jax.nn.silu(features @ weights["Wt1"] + weights["bt1"])
        e = (e @ weights["Wt2"] + weights["bt2"] + weights["cond"][branch])[:, None]
        return h, Time(e, x.shape)

    def blocks(self, weights: Any, h: Any, context: Time, start: int, stop: int) -> Any:
        parts = {name: weights[name] for name in ("Wsc", "Wsh", "W1", "W2")}

        def block(h: jax.Array, layer: jax.Array) -> tuple[jax.Array, None]:
            part = jax.tree.map(lambda w: w[layer], parts)
            u = _modulated(weights, h, context, part)
            return h + jnp.tanh(u @ part["W1"]) @ part["W2"], None

        return jax.lax.scan(block, h, jnp.arange(start, stop))[0]

    def head(self, weights: Any, h: Any, context: Time) -> jax.Array:
        velocity = _layer_norm(h, weights["ln_eps"]) @ weights["Wh"]
        return velocity.reshape(context.shape)

    def modulated(self, weights: Any, h: Any, context: Time) -> jax.Array:
        part = {name: weights[name][0] for name in ("Wsc", "Wsh")}
        return _modulated(weights, h, context, part)


def _modulated(weights: Any, h: Any, context: Time, part: Any) -> jax.Array:
    e = context.e
    u = _layer_norm(h, weights["ln_eps"])
    return u * (1 + e @ part["Wsc"]) + e @ part["Wsh"]


def _layer_norm(h: jax.Array, eps: jax.Array) -> jax.Array:
    mean = h.mean(axis=-1, keepdims=True)
    return (h - mean) * jax.lax.rsqrt(h.var(axis=-1, keepdims=True) + eps)
