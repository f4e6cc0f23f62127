"""EasyCache under its authors' names."""

from __future__ import annotations

from jax_stepcache.backends.around import AroundBackend
from jax_stepcache.backends.config import check_output
from jax_stepcache.backends.experts import has_settings_of_each, of_each
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import easy_cache
from jax_stepcache.policy.policy import Policy


class EasyCacheBackend(AroundBackend):
    """Skips whole forwards while the velocity is expected to change little."""

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`."""
        del num_inference_steps
        if has_settings_of_each(self.config, model):
            return of_each(self, model, lambda backend: backend._composed(model))
        return self._composed(model)

    def _composed(self, model: Model) -> Policy:
        c = self.config
        check_output(c.signal_output)
        output = c.signal_output or model.signal_output
        return easy_cache(
            c.thresh,
            c.ret_steps,
            output=output,
            forecast="offset" if c.forecast is None else c.forecast,
        )
