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
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.compose import compose
from jax_stepcache.policy.forecasts import Point
from jax_stepcache.policy.gates import Every, Gate
from jax_stepcache.policy.gates.base import NOT_COMPARED
from jax_stepcache.policy.leaf import leaf
from jax_stepcache.policy.named.frequencies import (
    FrequencyWeights,
    check_pictures,
    weighted,
)
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
        weights: float32[2], what low and high frequencies of the difference have grown
            to since then; or None.
    """

    gate: Any
    memory: tuple[Any, ...]
    recorded: jax.Array
    weights: jax.Array | None = None


@register_dataclass
@dataclass(frozen=True)
class Unconditional:
    """Asks the conditional branch at every step, and the other where a gate says so.

    Where it does not, the unconditional velocity is the conditional one of this step
    and, forecast, how far the other has been from it: guidance is reused, and what is
    guided is not. That is CFG-Cache (Lv et al. 2024, "FasterCache: Training-Free Video
    Diffusion Model Acceleration with High Quality").

    Attributes:
        gate: when the unconditional branch is asked; it sees no signal.
        forecast: of the difference.
        timesteps: float32[2], of the noise levels, times 1000, between which it may be
            left out, both exclusive.
        span: each guidance branch of the whole network.
        frequencies: what low and high frequencies of the difference are taken times at
            each step that reuses it; None to leave them.
    """

    gate: Gate
    forecast: Any
    timesteps: ArrayLike
    span: Span = field(default=EachBranch(), metadata={"static": True})
    frequencies: FrequencyWeights | None = None

    def init(self, view: View, num_steps: int) -> UnconditionalState:
        """See `Policy.init`."""
        leaves = jax.tree.leaves(view.entering)
        memory = tuple(self.forecast.init(like) for like in leaves)
        gate = self.gate.init(num_steps)
        weights = None
        if self.frequencies is not None:
            check_pictures(leaves)
            weights = jnp.ones(2, jnp.float32)
        return UnconditionalState(gate, memory, jnp.zeros((), bool), weights)

    def decide(self, state: UnconditionalState, view: View) -> Decision:
        """See `Policy.decide`."""
        nothing = jnp.float32(NOT_COMPARED)
        verdict = self.gate.decide(state.gate, view.step, nothing)
        low, high = jnp.asarray(self.timesteps, jnp.float32)
        at = jnp.floor(1000 * _sigma(view))
        must = ~((low < at) & (at < high)) | (jax.lax.axis_index(BRANCHES) == 0)
        # Outside of a guidance interval it is not asked, whatever is decided here.
        must |= ~state.recorded
        run = must | verdict.run
        state = state._replace(gate=verdict.state)
        if self.frequencies is not None and state.weights is not None:
            grown = state.weights * self.frequencies.at(at)
            state = state._replace(weights=jnp.where(run, state.weights, grown))
        return Decision(run, nothing, state, nothing)

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
        weights = None if state.weights is None else jnp.ones_like(state.weights)
        return UnconditionalState(gate, memory, jnp.ones((), bool), weights)

    def predict(self, state: UnconditionalState, view: View) -> Any:
        """See `Policy.predict`: the difference, until `complete` adds the rest."""
        here = Point(view.step, _sigma(view), None)
        forecast = [self.forecast.predict(one, here) for one in state.memory]
        if state.weights is not None:
            forecast = [weighted(x, *state.weights) for x in forecast]
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
    low: float | jax.Array = 1.0,
    high: float | jax.Array = 1.0,
    low_timesteps: Sequence[float] | jax.Array = (99, 901),
    high_timesteps: Sequence[float] | jax.Array = (-1, 301),
) -> Unconditional:
    """CFG-Cache, with the schedule of diffusers' ``FasterCacheConfig``.

    Args:
        interval: where the unconditional branch may be left out, every so many steps it
            is asked all the same, counted from the first of all.
        timesteps: two numbers, between which it may be left out, as 1000 times the
            noise level.
        forecast: what stands in for its difference from the conditional branch.
        low: what low frequencies of the difference are taken times at each step that
            reuses it, once more at each of them; FasterCache's is 1.1. Frequencies are
            those of [..., height, width, channels] arrays; others stay as they are.
        high: likewise, of all others.
        low_timesteps: two numbers, between which ``low`` holds, both exclusive; 1
            elsewhere.
        high_timesteps: likewise, ``high``.

    Returns:
        The policy.

    Raises:
        ValueError: for numbers that do not fit.
    """
    check_count("unconditional_batch_skip_range", interval, 1)
    check_numbers("unconditional_batch_timestep_skip_range", timesteps, shape=(2,))
    for name, number in (("low", low), ("high", high)):
        check_numbers(f"alpha_{name}_frequency", number, least=0.0)
    for name, pair in (("low", low_timesteps), ("high", high_timesteps)):
        what = f"{name}_frequency_weight_update_timestep_range"
        check_numbers(what, pair, shape=(2,))
    # Known to change nothing, they are left out.
    usual = all(isinstance(x, int | float) and x == 1 for x in (low, high))
    frequencies = FrequencyWeights(
        jnp.stack([leaf(x, np.float32) for x in (low, high)])
        if any(isinstance(x, jax.Array) for x in (low, high))
        else np.array([low, high], np.float32),
        leaf(low_timesteps, np.float32),
        leaf(high_timesteps, np.float32),
    )
    # Checked as those of any other policy within the network.
    gate = Every(leaf(interval, np.int32))
    found = compose(gate=gate, forecast=forecast, span="branches")
    return Unconditional(
        found.gate,
        found.forecast,
        leaf(timesteps, np.float32),
        frequencies=None if usual else frequencies,
    )


def _conditional(x: jax.Array) -> jax.Array:
    """What the conditional branch has in this place."""
    return jax.lax.all_gather(x, BRANCHES)[0]


def _sigma(view: View) -> jax.Array:
    return view.inside.sigma if view.inside is not None else jnp.float32(jnp.nan)
