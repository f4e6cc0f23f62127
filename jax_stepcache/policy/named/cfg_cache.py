"""CFG-cache: the unconditional branch skipped on steps of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.check import check_count, check_numbers
from jax_stepcache.errors import naming_arguments
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.forecasts import Point
from jax_stepcache.policy.gates import Every, Gate
from jax_stepcache.policy.gates.base import NOT_COMPARED
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.signals.first_blocks import BRANCHES
from jax_stepcache.policy.span import EachBranch, Span
from jax_stepcache.policy.view import View


class UnconditionalState(NamedTuple):
    """State of `Unconditional`, of one branch.

    Attributes:
        gate: the gate's state.
        memory: one forecast memory for each output of how far the branch is from the
            conditional one.
        recorded: bool scalar, whether it has been asked.
    """

    gate: Any
    memory: tuple[Any, ...]
    recorded: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Unconditional:
    """Asks the conditional branch at every step, and the other where a gate says so.

    Where it does not, the unconditional velocity is the conditional one of this step
    and, forecast, how far the other has been from it: guidance is reused, and what is
    guided is not. That is CFG-Cache (Lv et al. 2024, "FasterCache: Training-Free Video
    Diffusion Model Acceleration with High Quality"), whose weights of low and high
    frequencies are 1 here.

    Attributes:
        gate: when the unconditional branch is asked; it sees no signal.
        forecast: of the difference.
        timesteps: float32[2], of the noise levels, times 1000, between which it may be
            left out, both exclusive.
        span: each guidance branch of the whole network.
    """

    gate: Gate
    forecast: Any
    timesteps: ArrayLike
    span: Span = field(default=EachBranch(), metadata={"static": True})

    def init(self, view: View, num_steps: int) -> UnconditionalState:
        """See `Policy.init`."""
        leaves = jax.tree.leaves(view.entering)
        memory = tuple(self.forecast.init(like) for like in leaves)
        gate = self.gate.init(num_steps)
        return UnconditionalState(gate, memory, jnp.zeros((), bool))

    def decide(self, state: UnconditionalState, view: View) -> Decision:
        """See `Policy.decide`."""
        nothing = jnp.float32(NOT_COMPARED)
        verdict = self.gate.decide(state.gate, view.step, nothing)
        low, high = jnp.asarray(self.timesteps, jnp.float32)
        at = jnp.floor(1000 * _sigma(view))
        must = ~((low < at) & (at < high)) | (jax.lax.axis_index(BRANCHES) == 0)
        # Outside of a guidance interval it is not asked, whatever is decided here.
        must |= ~state.recorded
        return Decision(
            must | verdict.run, nothing, state._replace(gate=verdict.state), nothing
        )

    def record(
        self, state: UnconditionalState, view: View, value: Any
    ) -> UnconditionalState:
        """See `Policy.record`."""
        here = Point(view.step, _sigma(view), None)
        memory = tuple(
            self.forecast.record(old, here, new - _conditional(new))
            for old, new in zip(state.memory, jax.tree.leaves(value), strict=True)
        )
        gate = self.gate.record(state.gate)
        return UnconditionalState(gate, memory, jnp.ones((), bool))

    def predict(self, state: UnconditionalState, view: View) -> Any:
        """See `Policy.predict`: the difference, until `complete` adds the rest."""
        here = Point(view.step, _sigma(view), None)
        forecast = [self.forecast.predict(one, here) for one in state.memory]
        return jax.tree.unflatten(jax.tree.structure(view.entering), forecast)

    def complete(self, state: UnconditionalState, view: View, said: Any) -> Any:
        """What a branch adds that was not asked.

        Args:
            state: its state.
            view: where the sampler stands.
            said: what each branch adds; of those that were not asked anything.

        Returns:
            What the conditional branch adds, and the forecast difference.
        """
        return jax.tree.map(
            lambda new, more: _conditional(new) + more.astype(new.dtype),
            said,
            self.predict(state, view),
        )


@naming_arguments(
    {
        "unconditionalbatchskiprange": "interval",
        "unconditionalbatchtimestepskiprange": "timesteps",
    }
)
def cfg_cache(
    interval: int | jax.Array = 5,
    timesteps: Sequence[float] | jax.Array = (-1, 641),
    *,
    forecast: Any = "hold",
) -> Unconditional:
    """CFG-Cache, with the schedule of diffusers' ``FasterCacheConfig``.

    Args:
        interval: where the unconditional branch may be left out, every so many steps it
            is asked all the same, counted from the first of all.
        timesteps: two numbers, between which it may be left out, as 1000 times the
            noise level.
        forecast: what stands in for its difference from the conditional branch.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_count("unconditional_batch_skip_range", interval, 1)
    check_numbers("unconditional_batch_timestep_skip_range", timesteps, shape=(2,))
    # Checked as those of any other policy within the network.
    gate = Every(leaf(interval, np.int32))
    found = compose(gate=gate, forecast=forecast, span="branches")
    return Unconditional(found.gate, found.forecast, leaf(timesteps, np.float32))


def _conditional(x: jax.Array) -> jax.Array:
    """What the conditional branch has in this place."""
    return jax.lax.all_gather(x, BRANCHES)[0]


def _sigma(view: View) -> jax.Array:
    return view.inside.sigma if view.inside is not None else jnp.float32(jnp.nan)
