"""CFG-Cache under the names of diffusers' FasterCache."""

from __future__ import annotations

from typing import Any

from jax_stepcache.backends.base import CacheBackend
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import cfg_cache
from jax_stepcache.policy.policy import Policy


class CFGCacheBackend(CacheBackend):
    """Leaves the unconditional branch out, and reuses how far it was from the other."""

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`."""
        del model, num_inference_steps
        c = self.config
        return cfg_cache(
            c.unconditional_batch_skip_range,
            c.unconditional_batch_timestep_skip_range,
            forecast="hold" if c.forecast is None else c.forecast,
        )

    def enable(self, pipeline: Any) -> None:
        """See `CacheBackend.enable`."""
        self._wrap(pipeline)

    def refresh(
        self, pipeline: Any, num_inference_steps: int, verbose: bool = True
    ) -> None:
        """See `CacheBackend.refresh`."""
        self._prepare(pipeline, num_inference_steps, verbose)
