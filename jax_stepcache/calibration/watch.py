"""A policy that skips nothing and remembers what a signal would have seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.signals.magnitude_ratio import mean_ratio, token_norms
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.span import Span
from jax_stepcache.policy.view import Inside, View


class Seen(NamedTuple):
    """What there was to see at a step, of one guidance branch.

    Attributes:
        modulated: block 0's modulated input, or None where nobody looks at it.
        first: what the first blocks added, or None likewise.
        hidden: what came out of them, or None likewise.
        output: what left the span.
        residual: what the span added.
        input_change: float32 scalar, relative L1 of ``modulated`` since the step
            before; 0 at the first.
        output_change: float32 scalar, likewise of ``output``.
        ratio: float32 scalar, mean over tokens of the norms of ``residual`` to those of
            the step before; 1 at the first.
        steps: int32 scalar, steps seen.
        times: what the network made of the timestep, or None where nobody looks at it.
        shown: what it was shown of the sample, or None likewise.
    """

    modulated: Any
    first: Any
    hidden: Any
    output: Any
    residual: Any
    input_change: jax.Array
    output_change: jax.Array
    ratio: jax.Array
    steps: jax.Array
    times: Any = None
    shown: Any = None


@register_dataclass
@dataclass(frozen=True)
class Watch:
    """Runs every step and keeps the last one's sights; see `Seen`.

    Attributes:
        span: what is around it.
        looks_at: what is kept, see `Signal`: ``"modulated"``, ``"times"``, ``"first
            blocks"`` or ``"probe"``, what these added and what came out; ``"sample"``,
            what is shown of it; anything else keeps none of them.
    """

    span: Span = field(metadata={"static": True})
    looks_at: str = field(default="", metadata={"static": True})

    def init(self, view: View, num_steps: int) -> Seen:
        """See `Policy.init`."""
        del num_steps
        inside = _inside(view)
        hidden = jax.tree.map(jnp.zeros_like, inside.hidden)
        kept = jax.tree.map(jnp.zeros_like, self._kept(inside))
        nothing = jnp.zeros((), jnp.float32)
        steps = jnp.zeros((), jnp.int32)
        return Seen(
            output=hidden,
            residual=hidden,
            input_change=nothing,
            output_change=nothing,
            ratio=nothing,
            steps=steps,
            **kept,
        )

    def decide(self, state: Seen, view: View) -> Decision:
        """See `Policy.decide`."""
        del view
        return Decision(jnp.asarray(True), jnp.float32(jnp.nan), state)

    def record(self, state: Seen, view: View, value: Any) -> Seen:
        """See `Policy.record`."""
        inside = _inside(view)
        kept = self._kept(inside)
        output = jax.tree.map(jnp.add, inside.hidden, value)
        begun = state.steps > 0

        def since(old: Any, new: Any) -> jax.Array:
            pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
            changes = [relative_l1(a, b, eps=1e-8) for a, b in pairs]
            change = jnp.stack(changes).mean() if changes else jnp.float32(0)
            return jnp.where(begun, change, 0.0)

        norms = (token_norms(jax.tree.leaves(x)[0]) for x in (state.residual, value))
        ratio = mean_ratio(*norms)
        return Seen(
            output=output,
            residual=value,
            input_change=since(state.modulated, kept["modulated"]),
            output_change=since(state.output, output),
            ratio=jnp.where(begun, ratio, 1.0),
            steps=state.steps + 1,
            **kept,
        )

    def predict(self, state: Seen, view: View) -> Any:
        """See `Policy.predict`; what it says is never used."""
        del view
        return state.residual

    def _kept(self, inside: Inside) -> dict[str, Any]:
        """What signals look at, by its name in `Seen`."""
        keeping = {
            "modulated": ("modulated",),
            "first": ("first blocks", "probe"),
            "hidden": ("probe",),
            "times": ("times",),
            "shown": ("sample",),
        }
        return {
            name: getattr(inside, name) if self.looks_at in where else None
            for name, where in keeping.items()
        }


def _inside(view: View) -> Inside:
    if view.inside is None:
        raise ValueError("there is nothing to watch around the whole forward")
    return view.inside
