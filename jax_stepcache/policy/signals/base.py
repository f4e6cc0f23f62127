"""What a signal is."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import jax

from jax_stepcache.policy.view import View


def looked_at(hidden: Any) -> Any:
    """What signals look at of what flows through blocks: all of it, as a rule.

    Of several streams a network may mean some: then what flows is an object with an
    attribute ``looked_at``, as FLUX's, of whose two it is the image.
    """
    return getattr(hidden, "looked_at", hidden)


class Signal(Protocol):
    """Measures how much the network's answer is changing.

    Attributes:
        looks_at: what it needs to see: the ``"velocity"`` (of the whole forward), the
            ``"blocks"`` (what the span adds), the ``"first blocks"``, the
            ``"probe"`` (what comes out of these), the ``"modulated"`` input of block 0,
            the embedded ``"times"``, the ``"sample"``, or ``"nothing"``.
    """

    looks_at: ClassVar[str]

    def init(self, view: View) -> Any:
        """Makes the empty state for a view of these shapes."""
        ...

    def measure(self, state: Any, view: View) -> tuple[jax.Array, Any]:
        """Measures at a step.

        Args:
            state: the carried state.
            view: what there is to see.

        Returns:
            The signal, a float32 scalar, NaN where it cannot be told; and the new
            state.
        """
        ...

    def record(self, state: Any, view: View, value: Any) -> Any:
        """Takes in what the span has computed and returns the new state."""
        ...
