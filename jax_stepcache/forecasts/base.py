"""What a forecast is, and forecasts by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from jax_stepcache.errors import unknown_name


class Point(NamedTuple):
    """Where the sampler stands, for one output.

    Attributes:
        sigma: float32 scalar, the noise level.
        sample: the output's current sample.
    """

    sigma: jax.Array
    sample: jax.Array


@runtime_checkable
class Forecast(Protocol):
    """Predicts one output's velocity from those that were computed before."""

    def init(self, like: jax.Array) -> Any:
        """Makes an empty memory for an output of this shape and dtype."""
        ...

    def record(self, memory: Any, at: Point, velocity: jax.Array) -> Any:
        """Takes in a computed velocity and returns the new memory."""
        ...

    def predict(self, memory: Any, at: Point) -> jax.Array:
        """Predicts the velocity at a point that is not computed."""
        ...


def is_forecast(node: Any) -> bool:
    """Tells a forecast from a tree of forecasts."""
    return isinstance(node, Forecast)


def get_forecast(forecast: Any) -> Any:
    """Finds forecasts by name.

    Args:
        forecast: ``"hold"``, ``"linear"``, ``"linear_x0"``; one of these with its
            numbers, ``{"name": "linear", "damping": 0.25}``; a `Forecast`; or a mapping
            from output names to any of these.

    Returns:
        The forecast, or the mapping with a forecast in each place.

    Raises:
        ValueError: for an unknown name.
        TypeError: for anything that is no forecast.
    """
    from jax_stepcache.forecasts.hold import Hold
    from jax_stepcache.forecasts.linear import Linear
    from jax_stepcache.forecasts.linear_x0 import LinearX0

    if isinstance(forecast, Mapping) and "name" in forecast:
        numbers = {key: x for key, x in forecast.items() if key != "name"}
        plain = get_forecast(forecast["name"])
        for number in numbers:
            if number not in vars(plain):
                raise ValueError(unknown_name("forecast setting", number, vars(plain)))
        return type(plain)(**numbers)
    if isinstance(forecast, Mapping):
        return {name: get_forecast(one) for name, one in forecast.items()}
    if isinstance(forecast, str):
        known = {"hold": Hold, "linear": Linear, "linear_x0": LinearX0}
        if forecast not in known:
            raise ValueError(unknown_name("forecast", forecast, known))
        return known[forecast]()
    if not isinstance(forecast, Forecast):
        raise TypeError(
            f"forecast is {forecast!r}; give a name, a Forecast, or a mapping from "
            "output names to these"
        )
    return forecast
