"""MagCache under vLLM-Omni's name."""

from __future__ import annotations

from jax_stepcache.backends.inside import InsideBackend, calibrated
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import mag_cache
from jax_stepcache.policy.named.mag_cache import magnitude_calibration, resampled_ratios
from jax_stepcache.policy.policy import Policy


class MagCacheBackend(InsideBackend):
    """Skips all blocks along a calibrated curve of magnitudes.

    ``mag_ratios`` are the model's, where it was calibrated. With ``mag_calibrate``
    nothing is skipped, and the signal of a step is the ratio of the step before.
    """

    def _composed(self, model: Model, num_steps: int) -> Policy:
        c = self.config
        if c.mag_calibrate:
            return magnitude_calibration()
        ratios = c.mag_ratios
        if ratios is None:
            ratios = calibrated(model, "mag_cache", num_steps).get("mag_ratios")
            if ratios is None:
                raise ValueError(
                    f"mag_cache needs mag_ratios, and {model.name} has none of its "
                    "own: calibrate(..., cache='mag_cache') makes them"
                )
            ratios = resampled_ratios(ratios, num_steps)
        return mag_cache(
            ratios,
            c.mag_threshold,
            c.mag_max_skip_steps,
            c.mag_retention_ratio,
            num_steps=num_steps,
            forecast=self._forecast(),
        )
