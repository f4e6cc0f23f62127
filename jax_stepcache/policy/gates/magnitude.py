"""MagCache's gate: a calibrated curve of ratios, whose error adds up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.gates.base import Verdict, chosen, tested
from jax_stepcache.policy.gates.certain import (
    Certain,
    every_step,
    first_steps,
    on_host,
)
from jax_stepcache.policy.gates.padded import resized


class MagnitudeGateState(NamedTuple):
    """State of `Magnitude`.

    Attributes:
        ratio: float32 scalar, the product of ratios since the span last ran.
        error: float32 scalar, the sum of that product's distances from 1.
        skipped: int32 scalar, steps since then.
        recorded: bool scalar, whether the span has run.
    """

    ratio: jax.Array
    error: jax.Array
    skipped: jax.Array
    recorded: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Magnitude:
    """Reuses while the calibrated error stays small; it looks at no signal.

    Attributes:
        ratios: float32[steps], how the residual's norm grows at each step; 1 past the
            end.
        threshold: float32, what the error may add up to, inclusive.
        max_skip_steps: int32, consecutive steps that may be skipped.
        retained: int32, steps that run first.
    """

    ratios: ArrayLike
    threshold: ArrayLike = 0.24
    max_skip_steps: ArrayLike = 5
    retained: ArrayLike = 0

    def padded(self, num_steps: int, length: int) -> Magnitude:
        """See `jax_stepcache.policy.gates.padded`."""
        del num_steps
        ratios = resized(jnp.asarray(self.ratios, jnp.float32), length, 1.0)
        return replace(self, ratios=ratios)

    def init(self, num_steps: int) -> MagnitudeGateState:
        """See `Gate.init`."""
        del num_steps
        return MagnitudeGateState(
            jnp.ones((), jnp.float32),
            jnp.zeros((), jnp.float32),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), bool),
        )

    def decide(
        self, state: MagnitudeGateState, step: jax.Array, signal: jax.Array
    ) -> Verdict:
        """See `Gate.decide`; what is shown as the signal is the error."""
        del signal
        ratios = jnp.asarray(self.ratios, jnp.float32)
        tested_here = step >= jnp.asarray(self.retained, jnp.int32)
        known = step < ratios.shape[0]
        ratio = state.ratio * jnp.where(known, ratios[step], 1.0)
        skipped = state.skipped + 1
        error = state.error + jnp.abs(1 - ratio)
        threshold = jnp.asarray(self.threshold, jnp.float32)
        reuse = tested_here & state.recorded & (error <= threshold)
        reuse &= skipped <= jnp.asarray(self.max_skip_steps, jnp.int32)
        further = state._replace(ratio=ratio, error=error, skipped=skipped)
        return tested(
            tested_here, ~reuse, error, threshold, chosen(reuse, further, state)
        )

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        numbers = (self.ratios, self.threshold, self.max_skip_steps, self.retained)
        ratios, threshold, most, retained = map(on_host, numbers)
        if ratios is None or threshold is None or most is None or retained is None:
            return []
        # What a first skip would cost, wherever it was.
        error = np.zeros(num_steps, np.float32)
        known = ratios[:num_steps].astype(np.float32)
        error[: len(known)] = np.abs(1 - known)
        why = f"the first {retained} are retained (mag_retention_ratio)"
        found = first_steps(num_steps, retained, why)
        large = error > threshold
        if large.any():
            nearest = error[large].min()
            why = (
                f"ratios are {nearest:.3g} or more from 1, and mag_threshold is "
                f"{threshold:g}"
            )
            found.append(Certain(large, why))
        if most < 1:
            found += every_step(num_steps, f"mag_max_skip_steps is {most}")
        return found

    def record(self, state: MagnitudeGateState) -> MagnitudeGateState:
        """See `Gate.record`."""
        return self.init(0)._replace(recorded=jnp.ones_like(state.recorded))
