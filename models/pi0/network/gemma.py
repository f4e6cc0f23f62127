"""The layers of a Gemma, whose norms may be told the time.

Gemma Team 2024, "Gemma: Open Models Based on Gemini Research and Technology". Two
experts with one attention are those of Black et al. 2024, "pi0: A Vision-Language-
Action Flow Model for General Robot Control", and adaptive norms pi0.5's.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...layers.activations import gelu_tanh
from ...layers.attention import KeysValues, attend, split_heads
from ...layers.features import beside
from ...layers.linear import Linear
from ...layers.precision import at_least_float32
from ...layers.rotary import Rotation
from ...layers.rotary import rotation as rotation_of
from .config import GemmaConfig

_LONGEST = 1e4


class Where(NamedTuple):
    """Where tokens stand, and what each of them sees.

    Attributes:
        rotation: of their positions.
        mask: bool (B, tokens, keys), of the keys of `Reading`'s cache and, behind them,
            of the tokens themselves.
    """

    rotation: Rotation
    mask: jax.Array


class Norm(nnx.Module):
    """Division by the root mean square, and a scale around 1; its residual has no gate.

    Attributes:
        scale: (width,), which 1 is added to.
    """

    def __init__(self, width: int, eps: float):
        self.scale = nnx.Param(jnp.zeros(width))
        self.eps = eps

    def __call__(
        self, x: jax.Array, told: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Normalises (B, tokens, width); what it is told is not read."""
        del told
        wide = at_least_float32(self.scale.get_value())
        y = _normalised(x, self.eps) * (1 + beside(wide, x[..., :1].astype(wide.dtype)))
        return y.astype(x.dtype), None


class AdaptiveNorm(nnx.Module):
    """The same, with scale, shift and the residual's gate made of what it is told.

    Attributes:
        modulation: (width,) to scale, shift and gate.
    """

    def __init__(self, width: int, eps: float, *, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros
        self.modulation = Linear(width, 3 * width, rngs=rngs, init=zeros)
        self.eps = eps

    def __call__(
        self, x: jax.Array, told: jax.Array | None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Normalises (B, tokens, width), and says the gate (B, 1, width)."""
        assert told is not None
        made = self.modulation(told.astype(x.dtype))[:, None]
        scale, shift, gate = jnp.split(made, 3, axis=-1)
        wide = (at_least_float32(one) for one in (scale, shift))
        scale, shift = wide
        y = _normalised(x, self.eps) * (1 + scale) + shift
        return y.astype(x.dtype), gate


def _normalised(x: jax.Array, eps: float) -> jax.Array:
    wide = at_least_float32(x)
    return wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), -1, keepdims=True) + eps)


class TwoLinear(nnx.Module):
    """Two linear maps side by side.

    An axis of two rather than twice as many columns, so that these can be cut over
    devices.

    Attributes:
        kernel: (2, in, out).
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.xavier_uniform(batch_axis=0)
        shape = (2, in_features, out_features)
        self.kernel = nnx.Param(init(rngs.params(), shape))

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps (B, tokens, in) to two of (B, tokens, out)."""
        # One product for each, side by side: of a product of x with both at once, XLA
        # turns the weights around first.
        both = jnp.broadcast_to(x[None], (2, *x.shape))
        kernel = self.kernel.get_value().astype(x.dtype)
        y = jnp.einsum("cbld,cde->cble", both, kernel)
        return y[0], y[1]


class GatedMLP(nnx.Module):
    """``down(gelu(gate(x)) * up(x))``, without biases.

    Attributes:
        gate_up: width to hidden, twice.
        down: hidden to width.
    """

    def __init__(self, config: GemmaConfig, *, rngs: nnx.Rngs):
        self.gate_up = TwoLinear(config.width, config.mlp_dim, rngs=rngs)
        self.down = Linear(config.mlp_dim, config.width, rngs=rngs, use_bias=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (B, tokens, width) to as much."""
        gate, up = self.gate_up(x)
        return self.down(gelu_tanh(gate) * up)


class GemmaBlock(nnx.Module):
    """Attention and feed-forward, each of the normalised stream and added to it.

    Attributes:
        norm1: before the attention.
        q: to queries.
        kv: to keys, and to values.
        o: from the heads.
        norm2: before the feed-forward layer.
        mlp: the feed-forward layer.
        config: the sizes.
    """

    def __init__(self, config: GemmaConfig, eps: float, told: bool, *, rngs: nnx.Rngs):
        heads = config.num_heads * config.head_dim
        few = config.num_kv_heads * config.head_dim
        self.norm1, self.norm2 = (
            norm_of(config.width, eps, told, rngs) for _ in range(2)
        )
        self.q = Linear(config.width, heads, rngs=rngs, use_bias=False)
        self.kv = TwoLinear(config.width, few, rngs=rngs)
        self.o = Linear(heads, config.width, rngs=rngs, use_bias=False)
        self.mlp = GatedMLP(config, rngs=rngs)
        self.config = config

    def __call__(
        self,
        x: jax.Array,
        where: Where,
        told: jax.Array | None = None,
        cache: KeysValues | None = None,
    ) -> tuple[jax.Array, KeysValues]:
        """Applies the block.

        Args:
            x: (B, tokens, width).
            where: where they stand, and what they see.
            told: (B, width) for norms that are told the time, or None.
            cache: keys and values before theirs, or None.

        Returns:
            As much, and the tokens' own keys and values.
        """
        c = self.config
        y, gate = self.norm1(x, told)
        q = turned(split_heads(self.q(y), c.num_heads), where.rotation)
        k, v = (split_heads(one, c.num_kv_heads) for one in self.kv(y))
        own = KeysValues(turned(k, where.rotation), v)
        seen = own
        if cache is not None:
            seen = KeysValues(
                *(
                    jnp.concatenate([old.astype(x.dtype), new], axis=1)
                    for old, new in zip(cache, own, strict=True)
                )
            )
        heads = attend(q, *seen, None, where.mask[:, None])
        x = x + _gated(self.o(heads.reshape(*x.shape[:2], -1)), gate)
        y, gate = self.norm2(x, told)
        return x + _gated(self.mlp(y), gate), own


def norm_of(width: int, eps: float, told: bool, rngs: nnx.Rngs) -> Norm | AdaptiveNorm:
    """A norm, which is told the time or not."""
    return AdaptiveNorm(width, eps, rngs=rngs) if told else Norm(width, eps)


def _gated(x: jax.Array, gate: jax.Array | None) -> jax.Array:
    return x if gate is None else x * gate


def turned(x: jax.Array, rotation: Rotation) -> jax.Array:
    """Turns channel i and channel i of the second half by the token's angle i.

    Args:
        x: (B, tokens, heads, head_dim).
        rotation: of the tokens.

    Returns:
        Array like ``x``; the products are taken in float32 at least.
    """
    first, second = jnp.split(at_least_float32(x), 2, axis=-1)
    cos, sin = rotation.cos[:, :, None], rotation.sin[:, :, None]
    parts = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(parts, axis=-1).astype(x.dtype)


def rotation_at(positions: jax.Array, head_dim: int) -> Rotation:
    """The rotation of tokens at whole positions (B, tokens)."""
    # In float32, as the original: angles reach some hundreds.
    scale = (_LONGEST ** (2 / head_dim * np.arange(head_dim // 2))).astype(np.float32)
    angles = positions.astype(jnp.float32)[..., None] / scale[None, None]
    return rotation_of(angles)
