"""One network call for all slots, and what slots do between two calls."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from jax_stepcache.batching.settings import Settings
from jax_stepcache.batching.slots import Slots
from jax_stepcache.loop.program import guided_forward
from jax_stepcache.network.interval import Interval, within
from jax_stepcache.network.rows import RowAxes
from jax_stepcache.policy.span import Span
from jax_stepcache.solvers import Solver


@dataclass(frozen=True)
class Network:
    """The network that all slots share.

    Attributes:
        model: the model.
        weights: its weights.
        solver: the solver.
        guided: whether both branches run. A slot with a scale of 1 has only the one.
        interval: noise levels between which there is guidance; None for all.
    """

    model: Any
    weights: Any
    solver: Solver
    guided: bool
    interval: Interval | None = None

    @property
    def branches(self) -> int:
        """How many rows a slot has in a network call."""
        return 2 if self.guided else 1

    @property
    def told_apart(self) -> bool:
        """Whether the unconditional branch is asked at some steps only."""
        return self.guided and self.interval is not None

    def guided_at(self, settings: Settings, step: jax.Array) -> jax.Array:
        """Whether there is guidance, bool[slots], or a scalar for one of them."""
        if self.interval is None:
            return jnp.ones_like(step, bool)
        outputs = sorted(self.model.outputs or ())
        seen = self.model.signal_output
        row = settings.sigmas[outputs.index(seen) if seen in outputs else 0]
        return within(self.interval, row[step] if step.ndim == 0 else _at(row, step))

    def forward(
        self,
        settings: Settings,
        condition: Any,
        span: Span | None,
        axes: RowAxes | None = None,
    ) -> Any:
        """The forward of all slots, or of one.

        Args:
            settings: theirs, with a leading axis of slots, or one's without.
            condition: rows of all branches, the conditional ones of all slots first.
            span: what may be skipped.
            axes: the rows of the condition's arrays, see `guided_forward`.

        Returns:
            See `guided_forward`; where the sampler stands is the slots' ``step``.
        """

        def timesteps(step: jax.Array) -> Any:
            def told(row: jax.Array) -> jax.Array:
                each = row[step][None] if step.ndim == 0 else _at(row, step)
                return jnp.tile(each, self.branches)

            return jax.tree.map(told, settings.timesteps)

        scale = jnp.atleast_1d(settings.scale) if self.guided else None
        guided = functools.partial(self.guided_at, settings)
        return guided_forward(
            self.model,
            self.weights,
            condition,
            scale,
            timesteps,
            span,
            axes,
            guided if self.told_apart else None,
        )


class SlotForward(Protocol):
    """How slots come by their velocities."""

    def init(self, settings: Settings, sample: Any, condition: Any) -> Any:
        """Makes the policy's empty state for one request."""
        ...

    def walk(self, settings: Settings, slots: Slots) -> Slots:
        """Lets each slot that neither waits nor is done decide about its step.

        Where it reuses it takes the step, elementwise; where it runs it waits.
        """
        ...

    def waits_at_once(self, settings: Settings, slots: Slots) -> bool:
        """Whether after `walk` all slots wait or are done, whatever there is."""
        ...

    def call(self, settings: Settings, slots: Slots, condition: Any) -> Slots:
        """Calls the network once, and lets all slots that waited take their step."""
        ...


def walking(settings: Settings, slots: Slots) -> jax.Array:
    """Which slots have a step to decide about, bool[slots]."""
    return (slots.place >= 0) & ~slots.waits & (slots.step < settings.num_steps)


def rows_of(sample: Any) -> Any:
    """Batches of one, [slots, 1, ...], as one batch [slots, ...]."""
    return jax.tree.map(lambda x: x[:, 0], sample)


def batches_of_one(sample: Any) -> Any:
    """The inverse of `rows_of`."""
    return jax.tree.map(lambda x: x[:, None], sample)


# From a row of all slots to that of each one's step: [slots, steps] to [slots].
_at: Callable[[jax.Array, jax.Array], jax.Array] = jax.vmap(lambda row, i: row[i])
