"""No signal, for gates that follow a fixed schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nothing:
    """Measures nothing: always NaN."""

    def init(self, sample: Any) -> tuple[()]:
        """See `Signal.init`."""
        del sample
        return ()

    def measure(self, state: tuple[()]) -> jax.Array:
        """See `Signal.measure`."""
        del state
        return jnp.asarray(jnp.nan, jnp.float32)

    def record(self, state: tuple[()], velocity: Any) -> tuple[()]:
        """See `Signal.record`."""
        del velocity
        return state
