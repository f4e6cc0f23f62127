"""What a signal is."""

from __future__ import annotations

from typing import Any, Protocol

import jax


class Signal(Protocol):
    """Measures how much the network's answer is changing."""

    def init(self, sample: Any) -> Any:
        """Makes the empty state for velocities shaped like the sample."""
        ...

    def measure(self, state: Any) -> jax.Array:
        """The signal now, a float32 scalar; NaN where it cannot be told."""
        ...

    def record(self, state: Any, velocity: Any) -> Any:
        """Takes in a computed velocity and returns the new state."""
        ...
