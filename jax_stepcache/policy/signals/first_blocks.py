"""The change of what the first blocks add, DBCache's and FirstBlockCache's signal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.branches import BRANCHES
from jax_stepcache.policy.signals.base import looked_at
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.view import View


class FirstBlocksState(NamedTuple):
    """State of `FirstBlocks`.

    Attributes:
        last: what the first blocks added where the span last ran.
        recorded: bool scalar, whether it has run.
    """

    last: Any
    recorded: jax.Array


@register_dataclass
@dataclass(frozen=True)
class FirstBlocks:
    """Relative L1 of the first blocks' residual against the last computed step's.

    The first blocks run at every step, and what they add tells how far the rest has
    moved (ParaAttention's first-block cache, cache-dit's DBCache).

    Attributes:
        shared: whether the unconditional branch takes the conditional one's value
            (``cfg_diff_compute_separate=False`` in cache-dit).
        still: whether blocks that add exactly nothing, as they did before, have not
            changed, as FirstBlockCache says. Else that is 0/0, as in cache-dit: NaN.
    """

    looks_at: ClassVar[str] = "first blocks"

    shared: bool = field(default=False, metadata={"static": True})
    still: bool = field(default=False, metadata={"static": True})

    def init(self, view: View) -> FirstBlocksState:
        """See `Signal.init`."""
        empty = jax.tree.map(jnp.zeros_like, _first(view))
        return FirstBlocksState(empty, jnp.zeros((), bool))

    def measure(
        self, state: FirstBlocksState, view: View
    ) -> tuple[jax.Array, FirstBlocksState]:
        """See `Signal.measure`; NaN until the span has run."""
        pairs = zip(
            jax.tree.leaves(state.last), jax.tree.leaves(_first(view)), strict=True
        )
        distances = jnp.stack(
            [relative_l1(old, new, still=self.still) for old, new in pairs]
        )
        signal = jnp.where(state.recorded, distances.mean(), jnp.nan)
        if self.shared:
            signal = jax.lax.all_gather(signal, BRANCHES)[0]
        return signal, state

    def record(
        self, state: FirstBlocksState, view: View, value: Any
    ) -> FirstBlocksState:
        """See `Signal.record`."""
        del state, value
        return FirstBlocksState(_first(view), jnp.ones((), bool))


def _first(view: View) -> Any:
    if view.inside is None:
        raise ValueError("the signal looks at the first blocks of a span, see Span")
    return looked_at(view.inside.first)
