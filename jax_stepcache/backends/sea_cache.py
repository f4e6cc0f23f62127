"""SeaCache under vLLM-Omni's name."""

from __future__ import annotations

from jax_stepcache.backends.config import check_output
from jax_stepcache.backends.inside import InsideBackend
from jax_stepcache.check import check_count
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.forecasts import Newton
from jax_stepcache.policy.named import sea_cache
from jax_stepcache.policy.policy import Policy


class SeaCacheBackend(InsideBackend):
    """Skips all blocks while the spectrally filtered sample has changed little."""

    def _composed(self, model: Model, num_steps: int) -> Policy:
        del num_steps
        c = self.config
        check_output(c.signal_output)
        check_count("sea_residual_order", c.sea_residual_order)
        return sea_cache(
            c.sea_threshold,
            c.sea_max_consecutive_cached,
            c.sea_power_exp,
            retention_steps=c.sea_retention_steps,
            cache_end_steps=c.sea_cache_end_steps,
            axes=getattr(model, "spatial_axes", None),
            output=self.config.signal_output or model.signal_output,
            forecast=self._forecast(Newton(c.sea_residual_order)),
        )
