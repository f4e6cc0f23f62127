"""Forecasts by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jax.core import Tracer

from jax_stepcache.check import check_numbers
from jax_stepcache.errors import unknown_name
from jax_stepcache.policy.forecasts.aligned import Aligned
from jax_stepcache.policy.forecasts.base import is_forecast
from jax_stepcache.policy.forecasts.dmd import DMD
from jax_stepcache.policy.forecasts.foca import FoCa
from jax_stepcache.policy.forecasts.hermite import Hermite
from jax_stepcache.policy.forecasts.hold import Hold
from jax_stepcache.policy.forecasts.linear import Linear
from jax_stepcache.policy.forecasts.linear_x0 import LinearX0
from jax_stepcache.policy.forecasts.newton import Newton
from jax_stepcache.policy.forecasts.offset import Offset
from jax_stepcache.policy.forecasts.taylor import Taylor

_NAMED: Mapping[str, Any] = {
    "hold": Hold(),
    "linear": Linear(),
    "damped": Linear(damping=0.25),
    "linear_x0": LinearX0(),
    "taylor": Taylor(),
    "newton": Newton(),
    "hermite": Hermite(),
    "foca": FoCa(),
    "dmd": DMD(),
    "offset": Offset(),
    "aligned": Aligned(),
}


def get_forecast(forecast: Any) -> Any:
    """Finds forecasts by name.

    Args:
        forecast: ``"hold"``, ``"linear"``, ``"damped"`` (linear with DreamZero's
            damping of 0.25), ``"linear_x0"``, ``"taylor"``, ``"newton"``,
            ``"hermite"``, ``"foca"``, ``"dmd"``, ``"offset"``, ``"aligned"``; one of
            these with its numbers, ``{"name": "taylor", "order": 2}``; a `Forecast`; or
            a mapping from output names to any of these.

    Returns:
        The forecast, or the mapping with a forecast in each place.

    Raises:
        ValueError: for an unknown name.
        TypeError: for anything that is no forecast.
    """
    if isinstance(forecast, Mapping) and "name" in forecast:
        numbers = {key: x for key, x in forecast.items() if key != "name"}
        plain = get_forecast(forecast["name"])
        for number in numbers:
            if number not in vars(plain):
                raise ValueError(unknown_name("forecast setting", number, vars(plain)))
        return _checked(replace(plain, **numbers))
    if isinstance(forecast, Mapping):
        return {name: get_forecast(one) for name, one in forecast.items()}
    if isinstance(forecast, str):
        if forecast not in _NAMED:
            raise ValueError(unknown_name("forecast", forecast, _NAMED))
        return _NAMED[forecast]
    if not is_forecast(forecast):
        raise TypeError(
            f"forecast is {forecast!r}; give a name, a Forecast, or a mapping from "
            "output names to these"
        )
    return _checked(forecast)


def _checked(forecast: Any) -> Any:
    """Checks a forecast's numbers: one NaN would be in every sample."""
    if isinstance(forecast, Hermite):
        check_numbers("a forecast's scale_factor", forecast.scale_factor, above=0.0)
    if isinstance(forecast, DMD):
        check_numbers("a forecast's ridge", forecast.ridge, least=0.0)
    if isinstance(forecast, Aligned):
        check_numbers("a forecast's max_ratio", forecast.max_ratio, least=1.0)
        return forecast
    damping, cap = (getattr(forecast, name, None) for name in ("damping", "max_ratio"))
    if damping is not None:
        check_numbers("a forecast's damping", damping)
    # Infinity is no cap.
    if cap is not None and (isinstance(cap, Tracer) or not np.isposinf(cap).all()):
        check_numbers("a forecast's max_ratio", cap)
    return forecast
