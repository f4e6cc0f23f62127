"""The change of block 0's modulated input from step to step, TeaCache's signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.signals.seen import SeenState
from jax_stepcache.policy.view import View


@register_dataclass
@dataclass(frozen=True)
class ModulatedInput:
    """Relative L1 of block 0's modulated input against the step before.

    Liu et al. 2024, "Timestep Embedding Tells: It's Time to Cache for Video Diffusion
    Model": the input that the first block sees, normalised, scaled and shifted by the
    timestep, changes about as much as the output does.
    """

    looks_at: ClassVar[str] = "modulated"

    def init(self, view: View) -> SeenState:
        """See `Signal.init`."""
        return SeenState(jnp.zeros_like(_modulated(view)), jnp.zeros((), bool))

    def measure(self, state: SeenState, view: View) -> tuple[jax.Array, SeenState]:
        """See `Signal.measure`; NaN at the first step."""
        new = _modulated(view)
        distance = relative_l1(state.last, new, eps=1e-8)
        signal = jnp.where(state.seen, distance, jnp.nan)
        return signal, SeenState(new, jnp.ones((), bool))

    def record(self, state: SeenState, view: View, value: Any) -> SeenState:
        """See `Signal.record`."""
        del view, value
        return state


def _modulated(view: View) -> jax.Array:
    if view.inside is None or view.inside.modulated is None:
        raise ValueError(
            "the signal looks at the modulated input of block 0, which only a span of "
            "a network with 'modulated' shows"
        )
    return view.inside.modulated
