"""How what the blocks add grows from step to step: MagCache's ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.signals.base import looked_at
from jax_stepcache.policy.view import View


class MagnitudeState(NamedTuple):
    """State of `MagnitudeRatio`.

    Attributes:
        norms: float32[batch, ...], the norm of each token's residual where the span
            last ran; 0 until it has.
        ratio: float32 scalar, their mean ratio to those before; 1 until there are two.
    """

    norms: jax.Array
    ratio: jax.Array


@register_dataclass
@dataclass(frozen=True)
class MagnitudeRatio:
    """Mean over tokens of the ratio of successive residuals' norms.

    Ma et al. 2025, "MagCache: Fast Video Generation with Magnitude-Aware Cache". With a
    gate that always runs, the signal of a step is the ratio at the step before; this is
    how its ratios are calibrated.
    """

    looks_at: ClassVar[str] = "blocks"

    def init(self, view: View) -> MagnitudeState:
        """See `Signal.init`."""
        hidden = jax.tree.leaves(looked_at(view.entering))[0]
        return MagnitudeState(
            jnp.zeros(hidden.shape[:-1], jnp.float32), jnp.ones((), jnp.float32)
        )

    def measure(
        self, state: MagnitudeState, view: View
    ) -> tuple[jax.Array, MagnitudeState]:
        """See `Signal.measure`."""
        del view
        return state.ratio, state

    def record(self, state: MagnitudeState, view: View, value: Any) -> MagnitudeState:
        """See `Signal.record`."""
        del view
        norms = token_norms(jax.tree.leaves(looked_at(value))[0])
        return MagnitudeState(norms, mean_ratio(state.norms, norms))


def token_norms(residual: jax.Array) -> jax.Array:
    """Norms of a residual's tokens, [batch, tokens, dim] to float32[batch, tokens]."""
    return jnp.sqrt(jnp.square(residual.astype(jnp.float32)).sum(axis=-1))


def mean_ratio(old: jax.Array, new: jax.Array) -> jax.Array:
    """Mean ratio of new norms to old ones, float32 scalar; 1 for tokens without."""
    known = old > 0
    return jnp.where(known, new / jnp.where(known, old, 1.0), 1.0).mean()
