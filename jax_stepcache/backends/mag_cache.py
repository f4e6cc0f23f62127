"""MagCache under vLLM-Omni's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from jax_stepcache.backends.experts import steps_of_first
from jax_stepcache.backends.inside import InsideBackend, as_original, calibrated
from jax_stepcache.check import check_flag, check_numbers
from jax_stepcache.errors import warn
from jax_stepcache.network.protocol import Model
from jax_stepcache.policy.named import mag_cache
from jax_stepcache.policy.named.mag_cache import magnitude_calibration, resampled_ratios
from jax_stepcache.policy.named.mag_cache_original import (
    original_mag_cache,
    original_mag_cache_of_pictures,
)
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers.schedule import num_steps_of


class MagCacheBackend(InsideBackend):
    """Skips all blocks along a calibrated curve of magnitudes.

    ``mag_ratios`` are the model's, where it was calibrated; those of more steps are
    resampled over the schedule, as diffusers does. With ``mag_calibrate``
    nothing is skipped, and the signal of a step is the ratio of the step before. With
    ``original`` as in the paper's code for Wan, or for FLUX.
    """

    def policy_of_steps(self, model: Model, schedule: Any) -> Policy:
        """See `CacheBackend.policy_of_steps`; it tells the experts' steps apart."""
        backend = self
        if self.config.mag_split_step is None and self._serves_both(model):
            split = steps_of_first(model, schedule)
            backend = type(self)(replace(self.config, mag_split_step=split))
        return backend.policy(model, num_steps_of(schedule))

    def _composed(self, model: Model, num_steps: int) -> Policy:
        c = self.config
        check_flag("mag_calibrate", c.mag_calibrate)
        if c.mag_calibrate:
            return magnitude_calibration()
        if as_original(c, calibrated(model, "mag_cache", num_steps)):
            return self._original(model, num_steps)
        ratios = c.mag_ratios
        if ratios is None:
            ratios = calibrated(model, "mag_cache", num_steps).get("mag_ratios")
            if ratios is None:
                raise ValueError(
                    f"mag_cache needs mag_ratios, and {model.name} has none of its "
                    "own: calibrate(..., cache='mag_cache') makes them"
                )
            ratios = resampled_ratios(ratios, num_steps)
        check_numbers("mag_ratios", ratios, shape=(None,), above=0.0)
        if len(ratios) > num_steps:
            # The original reads the first ones, which belong to other noise levels.
            ratios = resampled_ratios(ratios, num_steps)
        elif len(ratios) < num_steps:
            warn(
                f"mag_ratios has {len(ratios)} ratios for {num_steps} steps: as in the "
                "original, the last steps count as if nothing changed. "
                "calibrate(..., cache='mag_cache') makes one for each step"
            )
        return mag_cache(
            ratios,
            c.mag_threshold,
            c.mag_max_skip_steps,
            c.mag_retention_ratio,
            num_steps=num_steps,
            forecast=self._forecast(),
        )

    def _serves_both(self, model: Model) -> bool:
        return as_original(self.config, calibrated(model, "mag_cache", 1))

    def _original(self, model: Model, num_steps: int) -> Policy:
        c = self.config
        found = calibrated(model, "original_mag_cache", num_steps)
        ratios = found.get("mag_ratios") if c.mag_ratios is None else c.mag_ratios
        if found.get("of_pictures", False):
            return self._of_pictures(model, num_steps, ratios, found)
        if ratios is None:
            raise ValueError(
                "mag_cache with original=True needs mag_ratios, of both guidance "
                f"branches in turn, and {model.name} has none of its own"
            )
        if c.mag_ratios is not None and np.shape(c.mag_ratios) == (num_steps,):
            raise ValueError(
                f"mag_ratios is one row of {num_steps} ratios for {num_steps} steps, "
                "and mag_cache with original=True has a curve for each guidance "
                "branch: in one row it takes them in turn, two a step, and this might "
                "be one for each step. Give [2, steps]"
            )
        of_two = getattr(model, "experts_meet_at", None) is not None
        if of_two and c.mag_split_step is None:
            raise ValueError(
                f"mag_cache with original=True counts the steps of each of {model.name}"
                "'s experts: give mag_split_step, how many the high-noise one has"
            )
        spares = found.get("spares_high", False)
        if c.mag_spares_high is not None:
            check_flag("mag_spares_high", c.mag_spares_high)
            spares = bool(c.mag_spares_high)
        return original_mag_cache(
            ratios,
            c.mag_threshold,
            c.mag_max_skip_steps,
            c.mag_retention_ratio,
            num_steps=num_steps,
            split_step=c.mag_split_step,
            spares_high=spares,
            forecast=self._forecast(),
        )

    def _of_pictures(
        self, model: Model, num_steps: int, ratios: Any, found: Mapping[str, Any]
    ) -> Policy:
        """As for FLUX: one curve."""
        if ratios is None:
            raise ValueError(
                f"mag_cache needs mag_ratios, and {model.name} has none of its own: "
                "calibrate(..., cache='mag_cache') makes them"
            )
        return original_mag_cache_of_pictures(
            ratios,
            self.config.mag_threshold,
            self.config.mag_max_skip_steps,
            self.config.mag_retention_ratio,
            num_steps=num_steps,
            forced=found.get("forced"),
            forecast=self._forecast(),
        )
