"""cache-dit's DBPrune under the names of its settings."""

from __future__ import annotations

from jax_stepcache.backends.cache_dit import CacheDiTBackend
from jax_stepcache.policy.named import db_prune
from jax_stepcache.policy.policy import Policy


class DBPruneBackend(CacheDiTBackend):
    """cache-dit's DBPrune: DBCache's settings, for each block by itself."""

    def _by_settings(self, num_steps: int) -> Policy:
        c = self.config
        if not c.cfg_diff_compute_separate:
            raise ValueError(
                "cfg_diff_compute_separate is False; db_prune has a change for each "
                "block, and cache-dit's fails with it: each branch looks at its own"
            )
        if c.max_accumulated_residual_diff_threshold is not None:
            raise ValueError(
                "max_accumulated_residual_diff_threshold does nothing in DBPrune, "
                "where changes are not added up; leave it out"
            )
        return db_prune(
            c.residual_diff_threshold,
            first_blocks=c.Fn_compute_blocks,
            last_blocks=c.Bn_compute_blocks,
            non_prune_blocks=c.non_prune_block_ids,
            warmup_steps=c.max_warmup_steps,
            warmup_interval=c.warmup_interval,
            max_cached_steps=c.max_cached_steps,
            max_continuous_cached_steps=c.max_continuous_cached_steps,
            dynamic=c.enable_dynamic_prune_threshold,
            max_dynamic=c.max_dynamic_prune_threshold,
            relax_ratio=c.dynamic_prune_threshold_relax_ratio,
            steps_mask=self._mask(num_steps),
            steps_policy=c.scm_steps_policy,
            forecast=self._forecast(self._calibrator()),
        )
