"""What calibrations have found for a model, kept beside its weights."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from jax_stepcache.network.protocol import (
    OptimisedLevels,
    TunedSchedule,
    TunedTable,
)
from jax_stepcache.paths import as_path
from jax_stepcache.policy.forecasts import get_forecast
from jax_stepcache.solvers.schedule import (
    explicit_schedule,
    is_schedule,
    num_steps_of,
)
from jax_stepcache.solvers.table_family import as_family, over_of


class DamagedSettings(ValueError):
    """A file of settings that cannot be read; not one that has nothing of a kind."""


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
            ValueError: if there is none, naming the budgets that there are; or if the
                file is damaged.
        """
        found = _schedule(self, _written(as_path(self.path)), int(budget))
        each = found.forecast
        # Its own: what has been read is kept for others.
        return found._replace(forecast=dict(each)) if isinstance(each, dict) else found

    def _read_schedule(self, budget: int) -> TunedSchedule:
        found = self.read()
        schedules = found.get("schedules", {})
        if str(budget) not in schedules:
            raise ValueError(
                f"there is no tuned schedule of {budget} model calls; there are "
                f"{sorted(map(int, schedules))}"
            )
        one, num_steps = schedules[str(budget)], found["num_steps"]
        try:
            steps, forecast = tuple(one["steps"]), get_forecast(one["forecast"])
            rising = steps == tuple(sorted(set(steps) & set(range(num_steps))))
        except (TypeError, KeyError, ValueError) as error:
            raise self._damaged(f"its schedule of {budget} calls: {error!r}") from error
        if not rising or steps[:1] != (0,) or len(steps) != budget:
            raise self._damaged(f"its schedule of {budget} calls runs {list(steps)}")
        holds_for = self._holds_for(one, f"schedule of {budget} calls")
        return TunedSchedule(steps, num_steps, forecast, holds_for)

    def table(self, budget: int) -> TunedTable:
        """The table of so many model calls; see `Tabled.bespoke`.

        Raises:
            ValueError: if there is none, naming the budgets that there are; or if the
                file is damaged.
        """
        return _table(self, _written(as_path(self.path)), int(budget))

    def _read_table(self, budget: int) -> TunedTable:
        found = self.read()
        tables = found.get("tables", {})
        if str(budget) not in tables:
            raise ValueError(
                f"there is no table of {budget} model calls; there are "
                f"{sorted(map(int, tables))}"
            )
        one = tables[str(budget)]
        try:
            table = as_family(one["table"])
            wins = bool(one.get("wins", False))
        except (TypeError, KeyError, ValueError) as error:
            raise self._damaged(f"its table of {budget} calls: {error}") from error
        calls = table.num_steps if over_of(table) else num_steps_of(table)
        if calls != budget:
            raise self._damaged(f"its table of {budget} calls makes {calls}")
        holds_for = self._holds_for(one, f"table of {budget} calls")
        return TunedTable(table, found["num_steps"], wins, holds_for)

    def levels(self, num_steps: int) -> OptimisedLevels:
        """The noise levels of so many plain steps; see `Spaced.optimised`.

        Raises:
            ValueError: if there are none, naming the numbers that there are; or if the
                file is damaged.
        """
        found = self.read().get("optimised", {})
        if str(num_steps) not in found:
            raise ValueError(
                f"there are no optimised noise levels of {num_steps} steps; there are "
                f"{sorted(map(int, found))}"
            )
        one = found[str(num_steps)]
        try:
            schedule, solver = _schedules(one["schedule"]), str(one["solver"])
            count = num_steps_of(schedule)
        except (TypeError, KeyError, ValueError) as error:
            raise self._damaged(f"its levels of {num_steps} steps: {error}") from error
        if count != num_steps:
            raise self._damaged(f"its levels of {num_steps} steps are of {count}")
        return OptimisedLevels(schedule, solver)

    def options(self, budget: int) -> dict[str, Any]:
        """What to pass to `sample` for the best there is of so many model calls.

        Raises:
            ValueError: if there is nothing of so many; or if the file is damaged.
        """
        found = self.read()
        table = found.get("tables", {}).get(str(budget))
        rival = found.get("schedules", {}).get(str(budget))
        if table is not None and (rival is None or table.get("wins", False)):
            won = self.table(budget)
            config = {"table": won.tables}
            return {"cache": "bespoke", "cache_config": config, **won.holds_for}
        tuned = self.schedule(budget)
        mask = [step in tuned.steps for step in range(tuned.num_steps)]
        config = {"steps_mask": mask, "forecast": tuned.forecast}
        steps = {"num_inference_steps": tuned.num_steps}
        if is_schedule(tuned.holds_for.get("schedule")):
            steps = {}  # Which are the schedule's.
        return {"cache": "static", "cache_config": config, **steps, **tuned.holds_for}

    def settings(self, backend: str) -> dict[str, Any]:
        """Settings of a backend by `DiffusionCacheConfig`'s names; see `Calibrated`."""
        # Its own: what has been read is kept for others.
        return copy.deepcopy(self.read().get("settings", {}).get(backend, {}))

    def read(self) -> dict[str, Any]:
        """All that the file holds; empty where it is not there.

        Raises:
            ValueError: if it is damaged.
        """
        path = as_path(self.path)
        written = _written(path)
        return {} if written is None else copy.deepcopy(_parsed(self, written))

    def _parse(self) -> dict[str, Any]:
        try:
            found = json.loads(as_path(self.path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise self._damaged(f"it is not JSON: {error}") from error
        if not isinstance(found, dict) or type(found.get("num_steps")) is not int:
            raise self._damaged("it needs 'num_steps'")
        for name in ("schedules", "settings", "tables", "optimised"):
            part = found.get(name, {})
            if not isinstance(part, dict) or not all(
                isinstance(one, dict) for one in part.values()
            ):
                raise self._damaged(f"{name!r} is {part!r:.80}")
        for name in ("schedules", "tables", "optimised"):
            if not all(budget.isdecimal() for budget in found.get(name, {})):
                raise self._damaged(f"{name!r} has {sorted(found[name])}")
        return found

    def _holds_for(self, one: dict[str, Any], what: str) -> Mapping[str, Any]:
        """The options that an entry was found with; files without them have none."""
        try:
            told = dict(one.get("provenance", {}).get("sampler", {}))
            if "schedule" in told:
                told["schedule"] = _schedules(told["schedule"])
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise self._damaged(f"the sampler of its {what}: {error!r}") from error
        # All who ask share it.
        return MappingProxyType(told)

    def _damaged(self, what: str) -> DamagedSettings:
        return DamagedSettings(f"{self.path} is cut short, or is no such file: {what}")


# A file that has not been written since is read once: a table is asked for at every
# call of `sample`, which on a small model would take a tenth of it.
_Written = tuple[int, int, int]


def _written(path: Path) -> _Written | None:
    """What tells a file from what it was before; None where it is not there."""
    if not path.is_file():
        return None
    told = path.stat()
    return told.st_mtime_ns, told.st_size, told.st_ino


@functools.lru_cache(maxsize=64)
def _parsed(file: TunedFile, written: _Written) -> dict[str, Any]:
    del written
    return file._parse()


@functools.lru_cache(maxsize=256)
def _table(file: TunedFile, written: _Written | None, budget: int) -> TunedTable:
    del written
    found = file._read_table(budget)
    # All who ask share it.
    for x in jax.tree.leaves(getattr(found.tables, "tables", found.tables)):
        x.setflags(write=False)
    return found


@functools.lru_cache(maxsize=256)
def _schedule(file: TunedFile, written: _Written | None, budget: int) -> TunedSchedule:
    del written
    return file._read_schedule(budget)


def _schedules(given: Any) -> Any:
    """A schedule of what JSON has for it, its name, or one for each output."""
    if isinstance(given, str):
        return given
    if not isinstance(given, dict) or not given:
        raise TypeError(f"{given!r:.80} is no schedule")
    if set(given) == {"sigmas", "timesteps"}:
        return explicit_schedule(given["sigmas"], given["timesteps"])
    return {name: _schedules(one) for name, one in given.items()}
