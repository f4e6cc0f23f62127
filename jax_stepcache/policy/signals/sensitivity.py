"""How far the network's answer may have moved by its derivatives, as in SenCache."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.signals.cosine import compared_output
from jax_stepcache.policy.view import View


class SensitivityState(NamedTuple):
    """State of `Sensitivity`.

    Attributes:
        sample: the sample where the span last ran.
        timestep: float32 scalar, where that was; NaN until it has.
    """

    sample: Any
    timestep: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Sensitivity:
    """Change of sample and timestep since the last computed step, times what they do.

    Haghighi and Alahi 2026, "SenCache: Accelerating Diffusion Model Inference via
    Sensitivity-Aware Caching": the norms of the network's derivatives, measured once
    for a model, bound how far its answer has moved. Norms are root mean squares over
    the sample, so that thresholds do not depend on its size.

    Attributes:
        timesteps: float32[n], 1000 times the noise levels where they were measured.
        by_sample: float32[n], change of the answer for each change of the sample.
        by_time: float32[n], change of the answer for each unit of timestep.
        output: which output of the sample is looked at; None for all of them.
    """

    looks_at: ClassVar[str] = "sample"

    timesteps: ArrayLike
    by_sample: ArrayLike
    by_time: ArrayLike
    output: str | None = field(default=None, metadata={"static": True})

    def init(self, view: View) -> SensitivityState:
        """See `Signal.init`."""
        sample = compared_output(view.sample, self.output)
        empty = jax.tree.map(jnp.zeros_like, sample)
        return SensitivityState(empty, jnp.full((), jnp.nan, jnp.float32))

    def measure(
        self, state: SensitivityState, view: View
    ) -> tuple[jax.Array, SensitivityState]:
        """See `Signal.measure`; NaN until the span has run."""
        timesteps, by_sample, by_time = (
            jnp.asarray(x, jnp.float32)
            for x in (self.timesteps, self.by_sample, self.by_time)
        )
        nearest = jnp.argmin(jnp.abs(timesteps - state.timestep))
        sample = compared_output(view.sample, self.output)
        moved = root_mean_square(
            jax.tree.map(lambda a, b: a.astype(jnp.float32) - b, sample, state.sample)
        )
        later = jnp.abs(self._timestep(view) - state.timestep)
        return by_sample[nearest] * moved + by_time[nearest] * later, state

    def record(
        self, state: SensitivityState, view: View, value: Any
    ) -> SensitivityState:
        """See `Signal.record`."""
        del state, value
        sample = compared_output(view.sample, self.output)
        return SensitivityState(sample, self._timestep(view))

    def _timestep(self, view: View) -> jax.Array:
        sigmas = compared_output(view.sigma, self.output)
        return 1000 * jax.tree.leaves(sigmas)[0].astype(jnp.float32)


def root_mean_square(tree: Any) -> jax.Array:
    """Over all arrays of a tree, a float32 scalar."""
    leaves = [x.astype(jnp.float32) for x in jax.tree.leaves(tree)]
    total = sum((x * x).sum() for x in leaves)
    return jnp.sqrt(jnp.asarray(total) / sum(x.size for x in leaves))
