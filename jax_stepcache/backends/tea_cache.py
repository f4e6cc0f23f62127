"""TeaCache under vLLM-Omni's name."""

from __future__ import annotations

from jax_stepcache.backends.inside import InsideBackend, as_original, calibrated
from jax_stepcache.check import check_flag
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import tea_cache
from jax_stepcache.policy.named.tea_cache import IDENTITY
from jax_stepcache.policy.named.tea_cache_original import original_tea_cache
from jax_stepcache.policy.policy import Policy


class TeaCacheBackend(InsideBackend):
    """Skips all blocks while their modulated input has changed little.

    ``rel_l1_thresh`` and ``coefficients``; without these the model's, where it was
    calibrated, else 0.2 and the change as it is. With ``original`` as in the paper's
    code for Wan, or for FLUX.
    """

    def _composed(self, model: Model, num_steps: int) -> Policy:
        config, found = self.config, calibrated(model, "tea_cache", num_steps)
        if as_original(config, found):
            return self._original(model, num_steps)
        threshold, coefficients = config.rel_l1_thresh, config.coefficients
        if threshold is None:
            threshold = found.get("rel_l1_thresh", 0.2)
        if coefficients is None:
            coefficients = found.get("coefficients", IDENTITY)
        return tea_cache(threshold, coefficients, forecast=self._forecast())

    def _original(self, model: Model, num_steps: int) -> Policy:
        c = self.config
        check_flag("use_ret_steps", c.use_ret_steps)
        name = "original_tea_cache_ret" if c.use_ret_steps else "original_tea_cache"
        found = calibrated(model, name, num_steps)
        threshold, coefficients = c.rel_l1_thresh, c.coefficients
        if threshold is None:
            threshold = found.get("rel_l1_thresh", 0.2)
        if coefficients is None:
            coefficients = found.get("coefficients", IDENTITY)
        return original_tea_cache(
            threshold,
            coefficients,
            use_ret_steps=c.use_ret_steps,
            modulated=found.get("modulated", False),
            forecast=self._forecast(),
        )
