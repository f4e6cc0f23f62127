"""No cache: the network runs at every step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.policy import Decision
from jax_stepcache.policy.view import View


@register_dataclass
@dataclass(frozen=True)
class Uncached:
    """Computes every step and remembers nothing; compiles to a loop without branch."""

    def init(self, view: View, num_steps: int) -> tuple[()]:
        """See `Policy.init`."""
        del view, num_steps
        return ()

    def decide(self, state: tuple[()], view: View) -> Decision:
        """See `Policy.decide`."""
        del view
        return Decision(True, jnp.asarray(jnp.nan, jnp.float32), state)

    def record(self, state: tuple[()], view: View, value: Any) -> tuple[()]:
        """See `Policy.record`."""
        del view, value
        return state

    def predict(self, state: tuple[()], view: View) -> Any:
        """See `Policy.predict`; never called."""
        raise AssertionError("an uncached sampler has nothing to reuse")
