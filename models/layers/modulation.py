"""Normalised tokens, scaled and shifted by a condition such as the timestep."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .linear import Linear
from .norms import layer_norm

Spans = tuple[tuple[int, int], ...]
"""Groups of timesteps: how many there are, and how many tokens each one has."""


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """Normalises tokens, then scales and shifts them.

    Args:
        x: (B, S, D) tokens.
        shift: (B, 1 or S, D), in the dtype of the tokens or a wider one, which all of
            it is computed in then.
        scale: like ``shift``; 0 leaves a token as it is normalised.
        eps: added to the variance.

    Returns:
        Tokens like ``x``.
    """
    wide = x.astype(scale.dtype)
    return (layer_norm(wide, eps) * (1 + scale) + shift).astype(x.dtype)


def gated(x: jax.Array, y: jax.Array, gate: jax.Array) -> jax.Array:
    """Adds what a layer made of tokens to them.

    Args:
        x: (B, S, D) tokens.
        y: like ``x``.
        gate: (B, 1 or S, D); product and sum are in its dtype.

    Returns:
        Tokens like ``x``.
    """
    wide = gate.dtype
    return (x.astype(wide) + y.astype(wide) * gate).astype(x.dtype)


def modulations(projection: Linear, c: jax.Array) -> list[jax.Array]:
    """Projects the condition (B, D) to arrays (B, 1, D), as many as there are."""
    said = projection(jax.nn.silu(c))
    return jnp.split(said[:, None], said.shape[-1] // c.shape[-1], axis=-1)


def per_token(rows: jax.Array, spans: Spans) -> jax.Array:
    """Spreads what depends on the timestep over the tokens.

    Few distinct timesteps occur, so what depends on them is computed once for each
    and not for every token.

    Args:
        rows: (B, rows, D).
        spans: the tokens of each row, in order.

    Returns:
        (B, tokens, D), or (B, 1, D) where one row serves all of them.
    """
    if rows.shape[1] == 1:
        return rows
    batch, _, dim = rows.shape
    if all(count == 1 for count, _ in spans):
        return _by_position(rows, [tokens for _, tokens in spans])
    parts, first = [], 0
    for count, tokens in spans:
        part = rows[:, first : first + count, None]
        part = jnp.broadcast_to(part, (batch, count, tokens, dim))
        parts.append(part.reshape(batch, count * tokens, dim))
        first += count
    return jnp.concatenate(parts, axis=1)


def _by_position(rows: jax.Array, tokens: list[int]) -> jax.Array:
    """`per_token` of single rows: chosen, which a GPU does within a normalisation.

    A concatenation would be a kernel of its own, and write all of it to memory.
    """
    position = jax.lax.broadcasted_iota(jnp.int32, (1, sum(tokens), 1), 1)
    chosen, first = rows[:, :1], tokens[0]
    for i, count in enumerate(tokens[1:], 1):
        chosen = jnp.where(position >= first, rows[:, i : i + 1], chosen)
        first += count
    return chosen
