"""A fixed schedule of steps that run."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.branches import BRANCHES
from jax_stepcache.policy.gates.base import NOT_COMPARED, Verdict
from jax_stepcache.policy.gates.certain import Certain, on_host, steps_of
from jax_stepcache.policy.gates.padded import resized


@register_dataclass
@dataclass(frozen=True)
class Mask:
    """Runs the network where the mask is true.

    Attributes:
        mask: bool[num_steps]. An array, so that another mask is not another program.
    """

    mask: ArrayLike

    def padded(self, num_steps: int, length: int) -> Mask:
        """See `jax_stepcache.policy.gates.padded`."""
        self.init(num_steps)
        return Mask(resized(jnp.asarray(self.mask, bool), length, True))

    def init(self, num_steps: int) -> tuple[()]:
        """See `Gate.init`."""
        # An index past the end would be clamped, silently. A count that is traced is a
        # request's, and was compared before its mask was padded.
        if isinstance(num_steps, Tracer):
            return ()
        if jnp.shape(jnp.asarray(self.mask)) != (num_steps,):
            raise ValueError(
                f"the mask has shape {jnp.shape(self.mask)}; {num_steps} steps need "
                f"({num_steps},)"
            )
        return ()

    def decide(self, state: tuple[()], step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        del signal
        nothing = jnp.asarray(NOT_COMPARED, jnp.float32)
        return Verdict(jnp.asarray(self.mask)[step], nothing, nothing, state)

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        mask = on_host(self.mask)
        if mask is None or mask.ndim != 1:
            return []
        steps = steps_of(mask, num_steps)
        why = (
            "the schedule runs all of them (steps_mask; or cache_interval and its ends)"
        )
        return [Certain(steps, why)]

    def record(self, state: tuple[()]) -> tuple[()]:
        """See `Gate.record`."""
        return state


@register_dataclass
@dataclass(frozen=True)
class BranchMask:
    """Runs each guidance branch inside the network where its own mask is true.

    Attributes:
        mask: bool[branches, num_steps], the conditional branch's first.
    """

    mask: ArrayLike

    def padded(self, num_steps: int, length: int) -> BranchMask:
        """See `jax_stepcache.policy.gates.padded`."""
        self.init(num_steps)
        rows = jnp.asarray(self.mask, bool)
        return BranchMask(jnp.stack([resized(row, length, True) for row in rows]))

    def init(self, num_steps: int) -> tuple[()]:
        """See `Gate.init`."""
        if isinstance(num_steps, Tracer):
            return ()
        shape = jnp.shape(jnp.asarray(self.mask))
        if len(shape) != 2 or shape[1] != num_steps:
            raise ValueError(
                f"the mask has shape {shape}; {num_steps} steps need "
                f"(branches, {num_steps})"
            )
        return ()

    def decide(self, state: tuple[()], step: jax.Array, signal: jax.Array) -> Verdict:
        """See `Gate.decide`."""
        del signal
        nothing = jnp.asarray(NOT_COMPARED, jnp.float32)
        own = jax.lax.axis_index(BRANCHES)
        return Verdict(jnp.asarray(self.mask)[own, step], nothing, nothing, state)

    def certain(self, num_steps: int) -> list[Certain]:
        """See `Certain`."""
        mask = on_host(self.mask)
        if mask is None or mask.ndim != 2:
            return []
        steps = steps_of(np.asarray(mask.all(axis=0)), num_steps)
        return [Certain(steps, "the schedule runs both branches at all of them")]

    def record(self, state: tuple[()]) -> tuple[()]:
        """See `Gate.record`."""
        return state
