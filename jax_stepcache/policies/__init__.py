"""Named policies, each a short composition of a signal, a gate and a forecast."""

from jax_stepcache.policies.static_schedule import (
    DREAMZERO_SCHEDULES,
    mask_of_steps,
    static_schedule,
)
from jax_stepcache.policies.step_cache import step_cache
from jax_stepcache.policies.uncached import Uncached

__all__ = [
    "DREAMZERO_SCHEDULES",
    "Uncached",
    "mask_of_steps",
    "static_schedule",
    "step_cache",
]
