"""Named policies, each a short composition of a signal, a gate and a forecast."""

from jax_stepcache.policy.named.cfg_cache import Unconditional, cfg_cache
from jax_stepcache.policy.named.db_cache import db_cache
from jax_stepcache.policy.named.db_prune import DBPrune, db_prune
from jax_stepcache.policy.named.di_cache import di_cache
from jax_stepcache.policy.named.each_list import EachListPolicy, each_list
from jax_stepcache.policy.named.easy_cache import easy_cache
from jax_stepcache.policy.named.first_block_cache import first_block_cache
from jax_stepcache.policy.named.mag_cache import mag_cache
from jax_stepcache.policy.named.mag_cache_original import (
    original_mag_cache,
    original_mag_cache_of_pictures,
)
from jax_stepcache.policy.named.restarting import Restarting, restarting
from jax_stepcache.policy.named.sea_cache import sea_cache
from jax_stepcache.policy.named.sen_cache import sen_cache
from jax_stepcache.policy.named.static_schedule import (
    DREAMZERO_SCHEDULES,
    mask_of_steps,
    static_schedule,
)
from jax_stepcache.policy.named.step_cache import step_cache
from jax_stepcache.policy.named.step_masks import steps_mask
from jax_stepcache.policy.named.switching import Switching, switching
from jax_stepcache.policy.named.taylor_seer import taylor_seer
from jax_stepcache.policy.named.tea_cache import TEACACHE_COEFFICIENTS, tea_cache
from jax_stepcache.policy.named.tea_cache_original import original_tea_cache
from jax_stepcache.policy.named.uncached import Uncached

__all__ = [
    "DREAMZERO_SCHEDULES",
    "TEACACHE_COEFFICIENTS",
    "DBPrune",
    "EachListPolicy",
    "Restarting",
    "Switching",
    "Uncached",
    "Unconditional",
    "cfg_cache",
    "db_cache",
    "db_prune",
    "di_cache",
    "each_list",
    "easy_cache",
    "first_block_cache",
    "mag_cache",
    "mask_of_steps",
    "original_mag_cache",
    "original_mag_cache_of_pictures",
    "original_tea_cache",
    "restarting",
    "sea_cache",
    "sen_cache",
    "static_schedule",
    "step_cache",
    "steps_mask",
    "switching",
    "taylor_seer",
    "tea_cache",
]
