"""Schedules that are known before the first step: given masks, and tuned ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jax_stepcache.backends.around import AroundBackend
from jax_stepcache.backends.bespoke import found_with, table_of
from jax_stepcache.backends.experts import refuse_settings_of_each
from jax_stepcache.check import check_count
from jax_stepcache.network.protocol import Model
from jax_stepcache.network.tuned import DamagedSettings
from jax_stepcache.policy.named import (
    DREAMZERO_SCHEDULES,
    mask_of_steps,
    static_schedule,
)
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers.table_family import without_own

_DREAMZERO_STEPS = 16
_FOUND = "what was found is for all steps"


class StaticBackend(AroundBackend):
    """Runs a given mask (``steps_mask``) or one of DreamZero's (``num_dit_steps``)."""

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`."""
        why = "steps_mask has every step, those of both experts"
        refuse_settings_of_each(self.config, model, "static", why)
        forecast = "hold" if self.config.forecast is None else self.config.forecast
        return static_schedule(self._mask(num_inference_steps), forecast)

    def _mask(self, num_steps: int) -> Any:
        mask, count = self.config.steps_mask, self.config.num_dit_steps
        if (mask is None) == (count is None):
            raise ValueError(
                "the static cache needs one of cache_config's steps_mask and "
                f"num_dit_steps; got steps_mask={mask!r}, num_dit_steps={count!r}"
            )
        if mask is not None:
            if np.shape(mask) != (num_steps,):
                raise ValueError(
                    f"steps_mask has shape {np.shape(mask)}; {num_steps} steps need "
                    f"({num_steps},)"
                )
            return mask
        if not isinstance(count, int | np.integer) or count not in DREAMZERO_SCHEDULES:
            raise ValueError(
                f"num_dit_steps is {count!r}; DreamZero has schedules of "
                f"{sorted(DREAMZERO_SCHEDULES)} of {_DREAMZERO_STEPS} steps"
            )
        if num_steps != _DREAMZERO_STEPS:
            raise ValueError(
                f"num_dit_steps picks from {_DREAMZERO_STEPS} steps; this generation "
                f"has {num_steps}"
            )
        return mask_of_steps(DREAMZERO_SCHEDULES[count], num_steps)


class TunedBackend(AroundBackend):
    """Runs what was found for this model and ``budget`` calls.

    That is a schedule and forecasts; or the model's table, where it has one that came
    nearer on samples that neither was tuned on, and nothing else is asked of the
    sampler.
    """

    def tables(self, model: Model, sampler: Mapping[str, Any]) -> Any:
        """See `CacheBackend.tables`."""
        refuse_settings_of_each(self.config, model, "tuned", _FOUND)
        find = getattr(model, "bespoke", None)
        if (
            find is None
            or self.config.budget is None
            or self.config.forecast is not None
        ):
            return None
        check_count("budget", self.config.budget, 1)
        try:
            found = find(self.config.budget)
        except DamagedSettings:
            raise
        except ValueError:
            return None
        usual = {"num_inference_steps": found.num_steps}
        others = without_own(found.tables, sampler)
        asked = any(given != usual.get(name) for name, given in others.items())
        return found.tables if found.wins and not asked else None

    def holds_for(self, model: Model, tabled: bool) -> Mapping[str, Any] | None:
        """See `CacheBackend.holds_for`."""
        budget = self.config.budget
        if tabled:
            return found_with(table_of(model, budget))
        find = getattr(model, "tuned", None)
        return None if find is None or budget is None else find(budget).holds_for

    def policy(self, model: Model, num_inference_steps: int) -> Policy:
        """See `CacheBackend.policy`."""
        refuse_settings_of_each(self.config, model, "tuned", _FOUND)
        find = getattr(model, "tuned", None)
        if find is None:
            raise ValueError(
                f"{model.name} has no tuned schedules; calibrate finds one, or use "
                "cache='static' with a steps_mask of your own"
            )
        if self.config.budget is None:
            raise ValueError(
                "cache='tuned' needs a budget, the number of model calls it may make"
            )
        check_count("budget", self.config.budget, 1)
        tuned = find(self.config.budget)
        if tuned.num_steps != num_inference_steps:
            raise ValueError(
                f"the tuned schedules of {model.name} have {tuned.num_steps} steps; "
                f"this generation has {num_inference_steps}"
            )
        forecast = self.config.forecast
        return static_schedule(
            mask_of_steps(tuned.steps, tuned.num_steps),
            tuned.forecast if forecast is None else forecast,
        )
