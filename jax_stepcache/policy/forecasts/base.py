"""What a forecast is."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp


class Point(NamedTuple):
    """Where the sampler stands, for one output.

    Attributes:
        step: int32 scalar, the index of the step.
        sigma: float32 scalar, the noise level.
        sample: the output's current sample; None inside the network.
        first: inside the network, what the blocks before the span have added; else
            None.
    """

    step: jax.Array
    sigma: jax.Array
    sample: Any
    first: Any = None


@runtime_checkable
class Forecast(Protocol):
    """Predicts one output's velocity from those that were computed before.

    Inside the network, the same is done with what a span of blocks adds.
    """

    def init(self, like: jax.Array) -> Any:
        """Makes an empty memory for an output of this shape and dtype."""
        ...

    def record(self, memory: Any, at: Point, velocity: jax.Array) -> Any:
        """Takes in a computed velocity and returns the new memory."""
        ...

    def predict(self, memory: Any, at: Point) -> jax.Array:
        """Predicts the velocity at a point that is not computed."""
        ...


def wide(x: jax.Array) -> jax.Array:
    """An array in float32, or wider if it is.

    Forecasts reckon in it and round once: in bfloat16 the weights of a polynomial do
    not add up to one, and a value that never changes would not be predicted.
    """
    # Asked, not left to promotion, which may be told to be strict.
    with jax.numpy_dtype_promotion("standard"):
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def is_forecast(node: Any) -> bool:
    """Tells a forecast from a tree of forecasts."""
    return isinstance(node, Forecast) and not isinstance(node, type)
