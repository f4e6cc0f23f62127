"""Run every so many steps."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import NOT_COMPARED, Verdict
from jax_stepcache.policy.gates.certain import Certain, on_host


@register_dataclass
@dataclass(frozen=True)
class Every:
    """Runs the first step, and then every so many; looks at no signal.

    Attributes:
        interval: int32, at least 1.
    """

    interval: ArrayLike

    def init(self, num_steps: int) -> tuple[()]:
        """See `Gate.init`."""
        del num_steps
        return ()

    def decide(self, state: tuple[()], step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        del signal
        nothing = jnp.float32(NOT_COMPARED)
        run = step % jnp.asarray(self.interval, jnp.int32) == 0
        return Verdict(run, nothing, nothing, state)

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        interval = on_host(self.interval)
        if interval is None:
            return []
        steps = np.arange(num_steps) % interval == 0
        return [Certain(steps, f"every {interval} of them run", bool(interval == 1))]

    def record(self, state: tuple[()]) -> tuple[()]:
        """See `Gate.record`."""
        return state
