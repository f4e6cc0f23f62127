"""Forecasts: what a skipped step uses instead of what the network would say."""

from jax_stepcache.policy.forecasts.aligned import Aligned
from jax_stepcache.policy.forecasts.base import Forecast, Point, is_forecast
from jax_stepcache.policy.forecasts.dmd import DMD
from jax_stepcache.policy.forecasts.foca import FoCa
from jax_stepcache.policy.forecasts.hermite import Hermite
from jax_stepcache.policy.forecasts.hold import Hold
from jax_stepcache.policy.forecasts.linear import Linear
from jax_stepcache.policy.forecasts.linear_x0 import LinearX0
from jax_stepcache.policy.forecasts.named import get_forecast
from jax_stepcache.policy.forecasts.newton import Newton
from jax_stepcache.policy.forecasts.offset import Offset
from jax_stepcache.policy.forecasts.taylor import Taylor

__all__ = [
    "DMD",
    "Aligned",
    "FoCa",
    "Forecast",
    "Hermite",
    "Hold",
    "Linear",
    "LinearX0",
    "Newton",
    "Offset",
    "Point",
    "Taylor",
    "get_forecast",
    "is_forecast",
]
