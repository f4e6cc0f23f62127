"""StepCache's gate: threshold tiers set a countdown, then one forced run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.check import static_count
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import Verdict, tested
from jax_stepcache.policy.gates.certain import (
    Certain,
    every_step,
    first_steps,
    on_host,
)


class TiersState(NamedTuple):
    """State of `Tiers`.

    Attributes:
        skip_countdown: int32 scalar, what is left of the countdown.
        history_length: int32 scalar, velocities computed so far, as long as the history
            of the original would be.
    """

    skip_countdown: jax.Array
    history_length: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Tiers:
    """vLLM-Omni's StepCache rule.

    In this order: run until there is enough history; while a countdown above 1 is on,
    take one off and reuse; at 1, run without looking at the signal; otherwise the first
    tier whose threshold the signal exceeds, strictly, sets its countdown and reuses;
    below all tiers, run. NaN exceeds nothing, so it runs.

    Attributes:
        thresholds: float32[tiers], highest first.
        countdowns: int32[tiers], at least 1 each. Arrays, so that other numbers are
            not another program.
        min_history: computed velocities before the first reuse, at least 2.
        max_history: velocities the original keeps; at least ``min_history``.
    """

    needs_signal: ClassVar[bool] = True

    thresholds: ArrayLike
    countdowns: ArrayLike
    min_history: int = field(default=2, metadata={"static": True})
    max_history: int = field(default=2, metadata={"static": True})

    def __post_init__(self) -> None:
        """Checks the counts.

        Raises:
            ValueError: if one is no whole number.
        """
        for name in ("min_history", "max_history"):
            counted = static_count(f"a gate's {name}", getattr(self, name))
            object.__setattr__(self, name, counted)

    def init(self, num_steps: int) -> TiersState:
        """See `Gate.init`."""
        del num_steps
        return TiersState(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def decide(self, state: TiersState, step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        del step
        thresholds = jnp.asarray(self.thresholds, jnp.float32)
        countdowns = jnp.asarray(self.countdowns, jnp.int32)
        ready = state.history_length >= self.min_history
        counting = ready & (state.skip_countdown > 0)
        testing = ready & (state.skip_countdown <= 0)

        exceeded = signal > thresholds
        granted = jnp.where(
            exceeded.any(), countdowns[jnp.argmax(exceeded)], jnp.int32(0)
        )
        reuse = (counting & (state.skip_countdown > 1)) | (testing & (granted > 0))
        countdown = jnp.where(
            counting,
            state.skip_countdown - 1,
            jnp.where(testing, granted, state.skip_countdown),
        )
        # Below the lowest threshold the network runs: that is the line to draw.
        return tested(
            testing,
            ~reuse,
            signal,
            thresholds.min(),
            state._replace(skip_countdown=countdown),
        )

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        why = f"the first {self.min_history} make the history that is compared"
        found = first_steps(num_steps, self.min_history, why)
        thresholds = on_host(self.thresholds)
        if thresholds is not None and thresholds.min() >= 1:
            why = f"no cosine is above {thresholds.min():g} (velocity_sim_thresholds)"
            found += every_step(num_steps, why)
        return found

    def record(self, state: TiersState) -> TiersState:
        """See `Gate.record`."""
        longer = jnp.minimum(state.history_length + 1, self.max_history)
        return state._replace(history_length=longer)
