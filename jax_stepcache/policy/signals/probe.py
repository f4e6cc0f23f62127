"""How the hidden behind the first blocks changes, DiCache's signal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.signals.base import looked_at
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.view import Inside, View


class ProbeState(NamedTuple):
    """State of `Probe`.

    Attributes:
        entering: what went into the first blocks at the last step, computed or not.
        behind: what came out of them there.
        seen: bool scalar, whether there was one.
    """

    entering: Any
    behind: Any
    seen: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Probe:
    """Relative L1 of what comes out of the first blocks against the step before.

    Bu et al. 2025, "DiCache: Let Diffusion Model Determine Its Own Cache": a shallow
    probe's change goes along with that of the network's output.

    Attributes:
        less_input: whether the change of what goes into the first blocks is taken off,
            and the difference counts by its size (``error_choice="delta_minus"``).
    """

    looks_at: ClassVar[str] = "probe"

    less_input: bool = field(default=False, metadata={"static": True})

    def init(self, view: View) -> ProbeState:
        """See `Signal.init`."""
        before, behind = (
            jax.tree.map(jnp.zeros_like, looked_at(_inside(view).first))
            for _ in range(2)
        )
        return ProbeState(before, behind, jnp.zeros((), bool))

    def measure(self, state: ProbeState, view: View) -> tuple[jax.Array, ProbeState]:
        """See `Signal.measure`; NaN at the first step."""
        inside = _inside(view)
        behind = looked_at(inside.hidden)
        added = looked_at(inside.first)
        entering = jax.tree.map(lambda h, f: h - f, behind, added)
        signal = _change(state.behind, behind)
        if self.less_input:
            signal = jnp.abs(signal - _change(state.entering, entering))
        signal = jnp.where(state.seen, signal, jnp.nan)
        return signal, ProbeState(entering, behind, jnp.ones((), bool))

    def record(self, state: ProbeState, view: View, value: Any) -> ProbeState:
        """See `Signal.record`."""
        del view, value
        return state


def _change(old: Any, new: Any) -> jax.Array:
    pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
    return jnp.stack([relative_l1(a, b) for a, b in pairs]).mean()


def _inside(view: View) -> Inside:
    if view.inside is None:
        raise ValueError("the signal looks at the first blocks of a span, see Span")
    return view.inside
