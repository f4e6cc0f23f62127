"""Named policies, each a short composition of a signal, a gate and a forecast."""

from jax_stepcache.policies.db_cache import db_cache
from jax_stepcache.policies.first_block_cache import first_block_cache
from jax_stepcache.policies.mag_cache import mag_cache
from jax_stepcache.policies.restarting import Restarting, restarting
from jax_stepcache.policies.sea_cache import sea_cache
from jax_stepcache.policies.static_schedule import (
    DREAMZERO_SCHEDULES,
    mask_of_steps,
    static_schedule,
)
from jax_stepcache.policies.step_cache import step_cache
from jax_stepcache.policies.step_masks import steps_mask
from jax_stepcache.policies.taylor_seer import taylor_seer
from jax_stepcache.policies.tea_cache import TEACACHE_COEFFICIENTS, tea_cache
from jax_stepcache.policies.uncached import Uncached

__all__ = [
    "DREAMZERO_SCHEDULES",
    "TEACACHE_COEFFICIENTS",
    "Restarting",
    "Uncached",
    "db_cache",
    "first_block_cache",
    "mag_cache",
    "mask_of_steps",
    "restarting",
    "sea_cache",
    "static_schedule",
    "step_cache",
    "steps_mask",
    "taylor_seer",
    "tea_cache",
]
