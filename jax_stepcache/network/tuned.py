"""What calibrations have found for a model, kept beside its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax_stepcache.network.protocol import TunedSchedule
from jax_stepcache.policy.forecasts import get_forecast


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
        return self._read().get("settings", {}).get(backend, {})

    def _read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.is_file() else {}
