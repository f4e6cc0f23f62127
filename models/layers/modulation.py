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
        shift: (B, 1 or S, D).
        scale: like ``shift``; 0 leaves a token as it is normalised.
        eps: added to the variance.

    Returns:
        Tokens like ``x``.
    """
    return layer_norm(x, eps) * (1 + scale) + shift


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
    parts, first = [], 0
    for count, tokens in spans:
        part = rows[:, first : first + count, None]
        part = jnp.broadcast_to(part, (batch, count, tokens, dim))
        parts.append(part.reshape(batch, count * tokens, dim))
        first += count
    return jnp.concatenate(parts, axis=1)
