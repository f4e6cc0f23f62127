"""No signal, for gates that follow a fixed schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass


@register_dataclass
@dataclass(frozen=True)
class Nothing:
    """Measures nothing: always NaN."""

    looks_at: ClassVar[str] = "nothing"

    def init(self, view: Any) -> tuple[()]:
        """See `Signal.init`."""
        del view
        return ()

    def measure(self, state: tuple[()], view: Any) -> tuple[jax.Array, tuple[()]]:
        """See `Signal.measure`."""
        del view
        return jnp.asarray(jnp.nan, jnp.float32), state

    def record(self, state: tuple[()], view: Any, value: Any) -> tuple[()]:
        """See `Signal.record`."""
        del view, value
        return state
