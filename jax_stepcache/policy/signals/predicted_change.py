"""How much the velocity is expected to change, EasyCache's signal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.signals.cosine import compared_output
from jax_stepcache.policy.view import View


class PredictedState(NamedTuple):
    """State of `PredictedChange`.

    Attributes:
        last: the sample at the last step, computed or not.
        anchor: the sample where a velocity was last computed.
        velocity: that velocity.
        rate: float32 scalar, how much the velocity changed for each change of the
            sample between the last two computed steps; NaN until there are two.
    """

    last: Any
    anchor: Any
    velocity: Any
    rate: jax.Array


@register_dataclass
@dataclass(frozen=True)
class PredictedChange:
    """Change of the sample since the last step, times the velocity's rate of change.

    Zhou et al. 2025, "Less is Enough: Training-Free Video Diffusion Acceleration via
    Runtime-Adaptive Caching": between computed steps the network's output changes in
    about constant proportion to its input, so what the sample did tells what the
    velocity would. Changes and sizes are mean absolute values, over the batch and the
    outputs that are compared; the signal is relative to the last computed velocity.

    Attributes:
        output: the output that is compared; None compares all of them.
    """

    looks_at: ClassVar[str] = "velocity"

    output: str | None = field(default=None, metadata={"static": True})

    def init(self, view: View) -> PredictedState:
        """See `Signal.init`.

        Raises:
            ValueError: if the sample has no output of the name.
        """
        sample = compared_output(view.sample, self.output)
        last, anchor, velocity = (
            jax.tree.map(jnp.zeros_like, sample) for _ in range(3)
        )
        none = jnp.full((), jnp.nan, jnp.float32)
        return PredictedState(last, anchor, velocity, none)

    def measure(
        self, state: PredictedState, view: View
    ) -> tuple[jax.Array, PredictedState]:
        """See `Signal.measure`; NaN until two velocities were computed."""
        sample = compared_output(view.sample, self.output)
        change = _mean_abs(_apart(sample, state.last))
        signal = state.rate * (change / _mean_abs(state.velocity))
        return signal, state._replace(last=sample)

    def record(self, state: PredictedState, view: View, value: Any) -> PredictedState:
        """See `Signal.record`."""
        sample = compared_output(view.sample, self.output)
        velocity = compared_output(value, self.output)
        changed = _mean_abs(_apart(velocity, state.velocity))
        rate = changed / _mean_abs(_apart(sample, state.anchor))
        # What the very first velocity is compared with is none.
        first = view.step == 0
        rate = jnp.where(first, jnp.nan, rate)
        return PredictedState(sample, sample, velocity, rate)


def _apart(a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: x.astype(jnp.float32) - y, a, b)


def _mean_abs(tree: Any) -> jax.Array:
    """Mean absolute value over all arrays of a tree, float32 scalar."""
    leaves = jax.tree.leaves(tree)
    total = sum(jnp.abs(x.astype(jnp.float32)).sum() for x in leaves)
    return jnp.asarray(total) / sum(x.size for x in leaves)
