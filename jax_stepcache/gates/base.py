"""What a gate is."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax


class Verdict(NamedTuple):
    """A gate's answer for one step.

    Attributes:
        run: bool scalar, whether the network runs.
        tested: bool scalar, whether the signal was looked at.
        state: the gate's new state.
    """

    run: jax.Array
    tested: jax.Array
    state: Any


class Gate(Protocol):
    """Decides at each step. All arithmetic is elementwise."""

    def init(self, num_steps: int) -> Any:
        """Makes the state before the first of so many steps.

        Raises:
            ValueError: if the gate does not fit that many.
        """
        ...

    def decide(self, state: Any, step: jax.Array, signal: jax.Array) -> Verdict:
        """Decides about a step.

        Args:
            state: the carried state.
            step: int32 scalar, the index of the step.
            signal: float32 scalar, the signal now.

        Returns:
            The verdict.
        """
        ...

    def record(self, state: Any) -> Any:
        """The state after the network has run."""
        ...
