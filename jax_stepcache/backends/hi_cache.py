"""HiCache: TaylorSeer's schedule with Hermite polynomials."""

from __future__ import annotations

from jax_stepcache.backends.inside import InsideBackend
from jax_stepcache.check import check_count
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.forecasts import Hermite
from jax_stepcache.policy.named import taylor_seer
from jax_stepcache.policy.policy import Policy


class HiCacheBackend(InsideBackend):
    """Skips all blocks at fixed intervals; extrapolates by scaled polynomials."""

    def _composed(self, model: Model, num_steps: int) -> Policy:
        del model
        c = self.config
        check_count("max_order", c.max_order)
        return taylor_seer(
            num_steps,
            c.cache_interval,
            c.disable_cache_before_step,
            c.disable_cache_after_step,
            c.max_order,
            forecast=self._forecast(Hermite(c.max_order, c.hicache_scale_factor)),
        )
