"""What calibrations have found for a model, kept beside its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.forecasts import get_forecast
from jax_stepcache.model import TunedSchedule


@dataclass(frozen=True)
class TunedFile:
    """A JSON file as ``benchmarks/tune.py`` writes it.

    Attributes:
        path: of the file; one that is not there has found nothing.
    """

    path: Path

    def schedule(self, budget: int) -> TunedSchedule:
        """The schedule of so many model calls; see `Model.tuned`.

        Raises:
            ValueError: if there is none, naming the budgets that there are.
        """
        found = self._read()
        schedules = found.get("schedules", {})
        if str(budget) not in schedules:
            raise ValueError(
                f"there is no tuned schedule of {budget} model calls; there are "
                f"{sorted(map(int, schedules))}"
            )
        one = schedules[str(budget)]
        return TunedSchedule(
            tuple(one["steps"]), found["num_steps"], get_forecast(one["forecast"])
        )

    def settings(self, backend: str) -> dict[str, Any]:
        """Settings of a backend by `DiffusionCacheConfig`'s names; see `Calibrated`."""
        found = self._read().get("settings", {}).get(backend, {})
        # Beside them stands how good the fit was.
        known = {field.name for field in fields(DiffusionCacheConfig)}
        return {name: x for name, x in found.items() if name in known}

    def _read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.is_file() else {}
