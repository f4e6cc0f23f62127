"""TeaCache under vLLM-Omni's name."""

from __future__ import annotations

from jax_stepcache.backends.inside import InsideBackend, calibrated
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import tea_cache
from jax_stepcache.policy.named.tea_cache import IDENTITY
from jax_stepcache.policy.policy import Policy


class TeaCacheBackend(InsideBackend):
    """Skips all blocks while their modulated input has changed little.

    ``rel_l1_thresh`` and ``coefficients``; without these the model's, where it was
    calibrated, else 0.2 and the change as it is.
    """

    def _composed(self, model: Model, num_steps: int) -> Policy:
        config, found = self.config, calibrated(model, "tea_cache", num_steps)
        threshold, coefficients = config.rel_l1_thresh, config.coefficients
        if threshold is None:
            threshold = found.get("rel_l1_thresh", 0.2)
        if coefficients is None:
            coefficients = found.get("coefficients", IDENTITY)
        return tea_cache(threshold, coefficients, forecast=self._forecast())
