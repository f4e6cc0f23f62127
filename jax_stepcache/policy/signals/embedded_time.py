"""The change of the embedded timestep, the original TeaCache's signal for Wan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.signals.seen import SeenState
from jax_stepcache.policy.view import View


@register_dataclass
@dataclass(frozen=True)
class EmbeddedTime:
    """Relative L1 of the time embedding against the step before.

    It depends on schedule and weights, and never on the sample.

    Attributes:
        projected: whether it looks at the projection that modulates the blocks.
    """

    looks_at: ClassVar[str] = "times"

    projected: bool = field(default=False, metadata={"static": True})

    @property
    def name(self) -> str:
        """Which of the network's times it looks at."""
        return "projection" if self.projected else "embedding"

    def init(self, view: View) -> SeenState:
        """See `Signal.init`."""
        return SeenState(jnp.zeros_like(self._seen(view)), jnp.zeros((), bool))

    def measure(self, state: SeenState, view: View) -> tuple[jax.Array, SeenState]:
        """See `Signal.measure`; NaN at the first step."""
        new = self._seen(view)
        signal = jnp.where(state.seen, relative_l1(state.last, new), jnp.nan)
        return signal, SeenState(new, jnp.ones((), bool))

    def record(self, state: SeenState, view: View, value: Any) -> SeenState:
        """See `Signal.record`."""
        del view, value
        return state

    def _seen(self, view: View) -> jax.Array:
        if view.inside is None or view.inside.times is None:
            raise ValueError(
                "the signal looks at the embedded timestep, which only a span of a "
                "network with 'times' shows"
            )
        return view.inside.times[self.name]
