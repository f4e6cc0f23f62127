"""A schedule of steps, and forecasts, that meet a target."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jax_stepcache.calibration.answers import check_changes
from jax_stepcache.calibration.fit import fit_response
from jax_stepcache.calibration.provenance import provenance_of
from jax_stepcache.calibration.quality import ahead, decoded, shown
from jax_stepcache.calibration.replay import replay_whole
from jax_stepcache.calibration.result import Calibration, CurvePoint
from jax_stepcache.calibration.samples import Samples
from jax_stepcache.calibration.schedule_search import (
    Candidate,
    climb,
    even_spread,
    named,
    settings_of,
)
from jax_stepcache.calibration.trajectory import follow
from jax_stepcache.loop.transfers import sent
from jax_stepcache.network.tuned import DamagedSettings
from jax_stepcache.options import Options, resolve
from jax_stepcache.policy.named import mask_of_steps

_MOST_ROUNDS = 8
_IDLE_ROUNDS = 2
_SAMPLED_A_ROUND = 4


def calibrate_schedule(
    samples: Samples,
    target: Mapping[str, float],
    *,
    replay: bool = True,
    starts: tuple[Candidate, ...] = (),
    beside: Mapping[str, float] | None = None,
) -> Calibration:
    """Finds which steps run, and what the others use for each output.

    Candidates are scored by replaying recorded velocities, corrected for how the
    network answers where the sample has moved; see `replay_whole`. Each round samples
    the best few for real, learns from them how it answers, and searches again.

    Args:
        samples: to calibrate on, in one batch.
        target: ``model_calls``, or ``psnr``: then the fewest calls that reach it, and
            where none do the nearest that was found.
        replay: False samples every candidate, for models that are small.
        starts: where to start besides an even spread.
        beside: dB by output of what should be beaten besides as many plain steps, such
            as a schedule of fewer calls.

    Returns:
        The calibration; what it maximises is the lead over as many plain steps, on the
        output where that is least.
    """
    if "model_calls" in target:
        calls = int(target["model_calls"])
        return _with_calls(samples, calls, target, replay, starts, beside)
    generation = resolve(samples.params, Options(**samples.shared, **samples.batch))
    tried: list[CurvePoint] = []
    found: list[Calibration] = []
    for budget in range(2, generation.program.num_steps):
        found.append(_with_calls(samples, budget, target, replay, starts))
        tried.extend(found[-1].curve)
        if found[-1].met:
            break
    if not found:
        raise ValueError("a schedule of two steps leaves nothing to skip")
    best = max(found, key=lambda one: shown(one.quality, samples.output))
    chosen = found[-1] if found[-1].met else best
    return Calibration(**{**vars(chosen), "curve": tuple(tried)})


def _with_calls(
    samples: Samples,
    budget: int,
    target: Mapping[str, float],
    replay: bool,
    starts: tuple[Candidate, ...],
    beside: Mapping[str, float] | None = None,
) -> Calibration:
    search = _Search(samples, budget, beside)
    even = [
        even_spread(budget, search.num_steps, search.outputs, forecast)
        for forecast in ("linear", "linear_x0", "hold")
    ]
    fitting = [start for start in starts if len(start.steps) <= budget]
    fitting += search.known()
    if replay:
        for start in even:
            search.sample(start)
        for start in fitting:
            if len(start.steps) == budget:
                search.sample(start)
        idle = 0
        for _ in range(_MOST_ROUNDS):
            idle = 0 if search.round(fitting) else idle + 1
            if idle == _IDLE_ROUNDS:
                break
    else:
        for start in [even[1], *fitting]:
            climb(search.sample, start, budget, search.num_steps)
    return search.result(target)


class _Search:
    """One search for a number of model calls.

    Attributes:
        samples: to calibrate on.
        budget: model calls.
        num_steps: the schedule's step count.
        outputs: names of the outputs; empty where the sample is one array.
        baseline: dB of as many plain steps, by output.
        rival: the higher of that and what should be beaten besides, by output.
        sampled: the lead of every candidate that was sampled, and its quality.
    """

    def __init__(
        self,
        samples: Samples,
        budget: int,
        beside: Mapping[str, float] | None = None,
    ) -> None:
        generation = resolve(samples.params, Options(**samples.shared, **samples.batch))
        self.samples = samples
        self.budget = budget
        self.program = generation.program
        self.num_steps = self.program.num_steps
        self.outputs = tuple(self.program.model.outputs or ())
        self._uncached = follow(generation)
        check_changes([self._uncached])
        self.baseline = samples.plain(budget)
        self.rival = {
            name: max(plain, (beside or {}).get(name, plain))
            for name, plain in self.baseline.items()
        }
        self.sampled: dict[Candidate, tuple[float, dict[str, float]]] = {}
        self._followed: list[Any] = []

    def known(self) -> list[Candidate]:
        """The model's own schedule of so many calls, if there is one."""
        find = getattr(self.program.model, "tuned", None)
        try:
            tuned = None if find is None else find(self.budget)
        except DamagedSettings:
            raise
        except ValueError:
            return []
        if tuned is None or tuned.num_steps != self.num_steps:
            return []
        candidate = named(tuned.steps, tuned.forecast)
        return [] if candidate is None else [candidate]

    def sample(self, candidate: Candidate) -> float:
        """The candidate's real lead over as many plain steps, in dB."""
        if candidate not in self.sampled:
            policy = candidate.policy(self.num_steps)
            options = Options(cache=policy, **self.samples.shared, **self.samples.batch)
            trajectory = follow(resolve(self.samples.params, options))
            self._followed.append(trajectory)
            self.sampled[candidate] = self._lead(trajectory.end)
        return self.sampled[candidate][0]

    def round(self, starts: list[Candidate]) -> bool:
        """Searches by replaying, and samples the best few; False if none is better."""
        fitted = fit_response(self._uncached, self._followed, self.program.schedule)
        # A response of none is as good a guess where little has been learnt. The lower
        # score of the two counts: a climb finds whatever one of them overrates.
        responses = sent((fitted, jax.tree.map(np.zeros_like, fitted)))

        @functools.cache
        def replayed(candidate: Candidate) -> float:
            policy = sent(candidate.policy(self.num_steps))
            ends = [
                replay_whole(self.program, policy, self._uncached, response).sample
                for response in responses
            ]
            return min(self._lead(end)[0] for end in ends)

        overrated = _overrating(
            {one: replayed(one) - lead for one, (lead, _) in self.sampled.items()}
        )
        expected: dict[Candidate, float] = {}

        def score(candidate: Candidate) -> float:
            expected[candidate] = replayed(candidate) - overrated(candidate)
            return expected[candidate]

        best = max(self.sampled, key=lambda one: self.sampled[one][0])
        for start in [best, *starts]:
            climb(score, start, self.budget, self.num_steps)
        new = [one for one in expected if one not in self.sampled]
        new = sorted(new, key=lambda one: -expected[one])[:_SAMPLED_A_ROUND]
        before = self.sampled[best][0]
        leads = [self.sample(candidate) for candidate in new]
        return bool(leads) and max(leads) > before

    def _psnr(self, quality: Mapping[str, float]) -> float:
        return shown(quality, self.samples.output)

    def _lead(self, end: Any) -> tuple[float, dict[str, float]]:
        quality = self.samples.quality(decoded(self.samples.model, end))
        return ahead(quality, self.rival), quality

    def result(self, target: Mapping[str, float]) -> Calibration:
        """The best candidate that was sampled: what the target asks for decides."""

        def worth(one: Candidate) -> float:
            lead, quality = self.sampled[one]
            return lead if "model_calls" in target else self._psnr(quality)

        best = max(self.sampled, key=worth)
        _, quality = self.sampled[best]
        psnr = self._psnr(quality)
        mask = mask_of_steps(best.steps, self.num_steps)
        curve = [
            CurvePoint(
                {
                    "steps": list(one.steps),
                    "forecast": settings_of(one.forecast()),
                },
                float(self.budget),
                self._psnr(each),
                sampled=True,
            )
            for one, (_, each) in self.sampled.items()
        ]
        return Calibration(
            cache="static",
            cache_config={
                "steps_mask": [bool(run) for run in mask],
                "forecast": settings_of(best.forecast()),
            },
            target=dict(target),
            met="model_calls" in target or psnr >= target["psnr"],
            model_calls=float(self.budget),
            quality=quality,
            baseline=self.baseline,
            curve=tuple(sorted(curve, key=lambda point: point.psnr or 0.0)),
            sampler=self.samples.sampler,
            fit={
                "steps": list(best.steps),
                "samples": self.samples.number,
                "provenance": provenance_of(self.samples.params),
            },
        )


def _overrating(errors: Mapping[Candidate, float]) -> Callable[[Candidate], float]:
    """By how much replaying overrates a candidate, to judge by those that were sampled.

    Forecasts differ in this far more than schedules do: the mean over candidates with
    the same ones, or over all where there is none.
    """

    def expected(candidate: Candidate) -> float:
        alike = [
            error
            for one, error in errors.items()
            if one.forecasts == candidate.forecasts and np.isfinite(error)
        ]
        known = alike or [error for error in errors.values() if np.isfinite(error)]
        return float(np.mean(known)) if known else 0.0

    return expected
