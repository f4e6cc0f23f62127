"""Run at every step, and still show the signal: for calibration."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import NOT_COMPARED, Verdict
from jax_stepcache.policy.gates.certain import Certain, every_step


@register_dataclass
@dataclass(frozen=True)
class Always:
    """Runs always; compares with nothing, and passes the signal on to the result."""

    def init(self, num_steps: int) -> tuple[()]:
        """See `Gate.init`."""
        del num_steps
        return ()

    def decide(self, state: tuple[()], step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        del step
        return Verdict(jnp.asarray(True), signal, jnp.float32(NOT_COMPARED), state)

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        why = "this gate only shows its signal, to calibrate by"
        return every_step(num_steps, why, meant=True)

    def record(self, state: tuple[()]) -> tuple[()]:
        """See `Gate.record`."""
        return state
