"""Between the last two residuals, as far as the first blocks have gone: DiCache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point, wide


class AlignedMemory(NamedTuple):
    """Memory of `Aligned`.

    Attributes:
        last: what all blocks up to the span's end added at the last computed step.
        before: the same at the one before it.
        first_last: what the blocks before the span added at the last computed step.
        first_before: the same at the one before it.
        known: int32 scalar, computed steps so far, at most 2.
    """

    last: jax.Array
    before: jax.Array
    first_last: jax.Array
    first_before: jax.Array
    known: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Aligned:
    """The line through the last two residuals, where the first blocks are on theirs.

    Bu et al. 2025, "DiCache: Let Diffusion Model Determine Its Own Cache" (dynamic
    cache trajectory alignment). How far what the first blocks add has moved, over how
    far it moved between the last two computed steps, is how far the whole residual is
    taken along its own line. A residual here is what all blocks up to the end of the
    span add; the span starts behind the first ones, so what they have added already is
    taken off again. Remembers four arrays.

    Attributes:
        max_ratio: float32, cap on that share; it is at least 1, the last residual.
    """

    max_ratio: ArrayLike = 1.5

    def init(self, like: jax.Array) -> AlignedMemory:
        """See `Forecast.init`."""
        last, before, *first = [wide(jnp.zeros_like(like)) for _ in range(4)]
        return AlignedMemory(last, before, first[0], first[1], jnp.zeros((), jnp.int32))

    def record(
        self, memory: AlignedMemory, at: Point, velocity: jax.Array
    ) -> AlignedMemory:
        """See `Forecast.record`."""
        first = wide(_first(at))
        return AlignedMemory(
            wide(velocity) + first,
            memory.last,
            first,
            memory.first_last,
            jnp.minimum(memory.known + 1, 2),
        )

    def predict(self, memory: AlignedMemory, at: Point) -> jax.Array:
        """See `Forecast.predict`; two that did not move at all hold the last one."""
        here = _first(at)
        first = wide(here)
        gone = jnp.abs(first - memory.first_before).mean()
        whole = jnp.abs(memory.first_last - memory.first_before).mean()
        line = (memory.known > 1) & (whole > 0)
        share = gone / jnp.where(line, whole, 1.0)
        share = jnp.clip(share, 1.0, jnp.asarray(self.max_ratio, share.dtype))
        further = jnp.where(line, share - 1, 0.0)
        residual = memory.last + further * (memory.last - memory.before)
        return (residual - first).astype(here.dtype)


def _first(at: Point) -> jax.Array:
    if at.first is None:
        raise ValueError(
            "the forecast looks at the first blocks of a span, see Span; around the "
            "network there are none"
        )
    return at.first
