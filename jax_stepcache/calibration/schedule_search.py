"""Search for a schedule of steps and a forecast for each output."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.policy.forecasts import (
    Hold,
    Linear,
    LinearX0,
    get_forecast,
    is_forecast,
)
from jax_stepcache.policy.named import mask_of_steps, static_schedule
from jax_stepcache.policy.policy import Composed

FORECASTS: Mapping[str, Any] = MappingProxyType(
    {
        "hold": Hold(),
        "linear": Linear(),
        "linear_x0": LinearX0(),
        "linear, damped 0.25": Linear(damping=0.25),
        "linear, capped 1.5": Linear(max_ratio=1.5),
        "linear_x0, damped 0.5": LinearX0(damping=0.5),
        "linear_x0, capped 1.5": LinearX0(max_ratio=1.5),
    }
)
"""What the search tries."""


class Candidate(NamedTuple):
    """A schedule and its forecasts.

    Attributes:
        steps: the steps that run, rising; the first is 0.
        forecasts: names from `FORECASTS`, one for each output; a single one where the
            sample is one array.
        outputs: the outputs' names; empty where the sample is one array.
    """

    steps: tuple[int, ...]
    forecasts: tuple[str, ...]
    outputs: tuple[str, ...] = ()

    def policy(self, num_steps: int) -> Composed:
        """The candidate as a policy over so many steps."""
        forecast = self._by_output([_searched(name) for name in self.forecasts])
        return static_schedule(mask_of_steps(self.steps, num_steps), forecast)

    def forecast(self) -> Any:
        """The forecast, or one for each output."""
        return self._by_output([FORECASTS[name] for name in self.forecasts])

    def _by_output(self, each: list[Any]) -> Any:
        if not self.outputs:
            return each[0]
        return dict(zip(self.outputs, each, strict=True))

    def neighbours(self, axis: int, num_steps: int) -> list[Candidate]:
        """Candidates that differ in one thing.

        Args:
            axis: below the number of forecasts, that forecast; beyond, a step that runs
                and comes earlier or later.
            num_steps: the schedule's step count.

        Returns:
            The candidates.
        """
        if axis < len(self.forecasts):
            before, after = self.forecasts[:axis], self.forecasts[axis + 1 :]
            return [
                self._replace(forecasts=(*before, name, *after)) for name in FORECASTS
            ]
        # Step 0 always runs, so the first that may move is the second.
        which = axis - len(self.forecasts) + 1
        others = self.steps[:which] + self.steps[which + 1 :]
        moved = [self.steps[which] + by for by in (-2, -1, 1, 2)]
        return [
            self._replace(steps=tuple(sorted((*others, step))))
            for step in moved
            if 0 < step < num_steps and step not in others
        ]

    def longer(self, num_steps: int) -> list[Candidate]:
        """Candidates with one more step that runs."""
        return [
            self._replace(steps=tuple(sorted((*self.steps, step))))
            for step in range(num_steps)
            if step not in self.steps
        ]


def _searched(name: str) -> Any:
    # Holding is a line without slope. Said so, it shares the line's compiled program.
    return Linear(damping=0.0) if name == "hold" else FORECASTS[name]


def even_spread(
    budget: int, num_steps: int, outputs: Sequence[str], forecast: str = "linear"
) -> Candidate:
    """The schedule to start from: so many steps, evenly spread."""
    spread = np.linspace(0, num_steps - 1, budget, endpoint=False).round().astype(int)
    steps = tuple(int(step) for step in spread)
    return Candidate(steps, (forecast,) * max(len(outputs), 1), tuple(outputs))


def climb(
    score: Callable[[Candidate], float],
    start: Candidate,
    budget: int,
    num_steps: int,
) -> Candidate:
    """Coordinate ascent: each forecast, then each step, until nothing is gained.

    Args:
        score: what to raise; asked once for each candidate.
        start: where to start; one with fewer steps is first given more.
        budget: how many steps run.
        num_steps: the schedule's step count.

    Returns:
        The best candidate that was found.
    """
    score = functools.cache(score)
    best = start
    while len(best.steps) < budget:
        best = max(best.longer(num_steps), key=score)
    while True:
        before = best
        for axis in range(len(best.forecasts) + budget - 1):
            best = max([best, *best.neighbours(axis, num_steps)], key=score)
        if best == before:
            return best


def named(steps: Sequence[int], forecast: Any) -> Candidate | None:
    """A schedule as a candidate, where the search knows its forecasts."""
    names = {repr(known): name for name, known in FORECASTS.items()}
    forecast = get_forecast(forecast)
    by_output = {} if is_forecast(forecast) else dict(sorted(forecast.items()))
    found = [names.get(repr(one)) for one in by_output.values() or [forecast]]
    known = tuple(name for name in found if name is not None)
    if len(known) != len(found):
        return None
    return Candidate(tuple(steps), known, tuple(by_output))


def settings_of(forecast: Any) -> dict[str, Any]:
    """A forecast of the search as JSON, what `get_forecast` takes."""
    if not is_forecast(forecast):
        return {name: settings_of(one) for name, one in forecast.items()}
    names = {Hold: "hold", Linear: "linear", LinearX0: "linear_x0"}
    numbers = {k: v for k, v in vars(forecast).items() if np.isfinite(v)}
    return {"name": names[type(forecast)], **numbers}
