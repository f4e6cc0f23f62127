"""DiCache under its authors' names."""

from __future__ import annotations

from jax_stepcache.backends.inside import InsideBackend
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import di_cache
from jax_stepcache.policy.policy import Policy


class DiCacheBackend(InsideBackend):
    """Skips the blocks behind a probe while what comes out of it changes little."""

    def _composed(self, model: Model, num_steps: int) -> Policy:
        del model
        c = self.config
        return di_cache(
            num_steps,
            c.rel_l1_thresh,
            c.probe_depth,
            c.ret_ratio,
            error_choice=c.error_choice,
            forecast=self._forecast("aligned"),
        )
