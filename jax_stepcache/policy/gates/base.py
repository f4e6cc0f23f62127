"""What a gate is."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp


class Verdict(NamedTuple):
    """A gate's answer for one step.

    Attributes:
        run: bool scalar, whether the span runs.
        signal: float32 scalar, what was compared; NaN where nothing was.
        threshold: float32 scalar, what it was compared with; NaN likewise.
        state: the gate's new state.
    """

    run: jax.Array
    signal: jax.Array
    threshold: jax.Array
    state: Any


class Gate(Protocol):
    """Decides at each step. All arithmetic is elementwise.

    ``decide`` returns the state for the case that its verdict stands. A combinator may
    make the span run where the gate inside it would not; it then leaves that gate's
    state as it was. ``record`` follows wherever the span has run.
    """

    def init(self, num_steps: int) -> Any:
        """Makes the state before the first of so many steps.

        Requests that share a program have traced counts, so the state's shapes must not
        depend on it; for rows over steps in the gate itself see
        `jax_stepcache.policy.gates.padded`.

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
        """The state after the span has run."""
        ...


def needs_signal(gate: Any) -> bool:
    """Whether a gate, or one that it wraps, compares a signal."""
    while hasattr(gate, "gate"):
        gate = gate.gate
    return getattr(gate, "needs_signal", False)


NOT_COMPARED = float("nan")
"""The signal and the threshold of a verdict that compared nothing."""


def tested(
    when: jax.Array, run: jax.Array, signal: Any, threshold: Any, state: Any
) -> Verdict:
    """A verdict whose comparison is shown only where it was made.

    Args:
        when: bool scalar, whether it was made.
        run: bool scalar.
        signal: what was compared.
        threshold: with what.
        state: the gate's new state.

    Returns:
        The verdict.
    """

    def shown(x: Any) -> jax.Array:
        return jnp.where(when, jnp.asarray(x, jnp.float32), NOT_COMPARED)

    return Verdict(run, shown(signal), shown(threshold), state)


def chosen(first: jax.Array, a: Any, b: Any) -> Any:
    """Tree ``a`` where ``first`` is true, else tree ``b``, elementwise."""
    return jax.tree.map(lambda x, y: jnp.where(first, x, y), a, b)
