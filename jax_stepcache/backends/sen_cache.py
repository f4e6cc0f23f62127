"""SenCache under its authors' names."""

from __future__ import annotations

from jax_stepcache.backends.config import check_output
from jax_stepcache.backends.inside import InsideBackend, calibrated
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import sen_cache
from jax_stepcache.policy.policy import Policy


class SenCacheBackend(InsideBackend):
    """Skips all blocks while the network's derivatives say that little changed.

    ``sencache_sensitivities`` are the model's, where they were measured.
    """

    def _composed(self, model: Model, num_steps: int) -> Policy:
        c = self.config
        check_output(c.signal_output)
        table = c.sencache_sensitivities
        if table is None:
            table = calibrated(model, "sen_cache", num_steps).get(
                "sencache_sensitivities"
            )
        if table is None:
            raise ValueError(
                f"sen_cache needs sencache_sensitivities, and {model.name} has none of "
                "its own: calibrate(..., cache='sen_cache') measures them"
            )
        return sen_cache(
            num_steps,
            table,
            c.sencache_thresh_main,
            c.sencache_thresh_start,
            c.sencache_K,
            output=c.signal_output or model.signal_output,
            forecast=self._forecast(),
        )
