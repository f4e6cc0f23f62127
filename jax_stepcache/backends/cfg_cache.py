"""CFG-Cache under the names of diffusers' FasterCache."""

from __future__ import annotations

from jax_stepcache.backends.around import AroundBackend
from jax_stepcache.backends.experts import has_settings_of_each, of_each
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import cfg_cache
from jax_stepcache.policy.policy import Policy


class CFGCacheBackend(AroundBackend):
    """Leaves the unconditional branch out, and reuses how far it was from the other."""

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`."""
        del num_inference_steps
        if has_settings_of_each(self.config, model):
            return of_each(self, model, lambda backend: backend._composed())
        return self._composed()

    def _composed(self) -> Policy:
        c = self.config
        return cfg_cache(
            c.unconditional_batch_skip_range,
            c.unconditional_batch_timestep_skip_range,
            forecast="hold" if c.forecast is None else c.forecast,
            low=c.alpha_low_frequency,
            high=c.alpha_high_frequency,
            low_timesteps=c.low_frequency_weight_update_timestep_range,
            high_timesteps=c.high_frequency_weight_update_timestep_range,
        )
