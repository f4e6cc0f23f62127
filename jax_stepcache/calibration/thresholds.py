"""The threshold of a cache that meets a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_stepcache.backends import DiffusionCacheConfig, resolve_policy
from jax_stepcache.backends.inside import as_original, calibrated
from jax_stepcache.calibration.answers import check_changes
from jax_stepcache.calibration.fit import (
    branch_ratios,
    fit_polynomial,
    mean_ratios,
    time_changes,
)
from jax_stepcache.calibration.quality import shown
from jax_stepcache.calibration.replay import replay_inside, replay_whole
from jax_stepcache.calibration.result import Calibration, CurvePoint
from jax_stepcache.calibration.samples import Samples
from jax_stepcache.calibration.sensitivity import sensitivities
from jax_stepcache.calibration.trajectory import Trajectory, watch
from jax_stepcache.loop.generation import Generation
from jax_stepcache.loop.transfers import sent
from jax_stepcache.options import Options, resolve
from jax_stepcache.policy.asked import asked_of
from jax_stepcache.policy.gates import BranchMask
from jax_stepcache.policy.named.sen_cache import TABLE
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.signals import EmbeddedTime
from jax_stepcache.policy.span import Span

# The setting that is swept, and between which values.
SWEPT: Mapping[str, tuple[str, np.ndarray]] = MappingProxyType(
    {
        "tea_cache": ("rel_l1_thresh", np.geomspace(1e-3, 20, 160)),
        "cache_dit": ("residual_diff_threshold", np.geomspace(1e-3, 0.999, 96)),
        "first_block_cache": ("threshold", np.geomspace(1e-3, 4, 128)),
        "mag_cache": ("mag_threshold", np.geomspace(1e-4, 4, 128)),
        "sea_cache": ("sea_threshold", np.geomspace(1e-3, 20, 160)),
        "easy_cache": ("thresh", np.geomspace(1e-3, 4, 128)),
        "di_cache": ("rel_l1_thresh", np.geomspace(1e-3, 20, 160)),
        "sen_cache": ("sencache_thresh_main", np.geomspace(1e-4, 10, 160)),
        "step_cache": ("velocity_sim_thresholds", 1 - np.geomspace(1.9, 1e-6, 160)),
    }
)

_MOST_SAMPLED = 6
_NEAR_TARGET = 3


class _Setting(NamedTuple):
    """A threshold, and the calls it makes when replayed."""

    threshold: float
    calls: float


def check_threshold(
    generation: Generation, cache: str, config: Mapping[str, Any]
) -> None:
    """Raises what a cache's other settings, or the model, would be refused for.

    Raises:
        ValueError: also where no threshold can make the cache skip a step.
    """
    name, _ = SWEPT[cache]
    program = generation.program
    policy = _middle(generation, cache, config)
    asked = asked_of(policy, program.num_steps, 2 if program.guided else 1)
    if asked.never is not None:
        raise ValueError(
            f"there is no {name} to find for {cache}: of {program.num_steps} steps it "
            f"can skip none, for {asked.never}"
        )


def calibrate_threshold(
    samples: Samples,
    cache: str,
    cache_config: Mapping[str, Any],
    target: Mapping[str, float],
) -> Calibration:
    """Sweeps a cache's threshold.

    Uncached trajectories are recorded once, and every threshold decides over what was
    seen on them. The network is asked again only to measure the few that matter.

    Args:
        samples: to calibrate on.
        cache: the backend's name.
        cache_config: its other settings.
        target: ``model_calls`` or ``psnr``.

    Returns:
        The calibration.
    """
    generation = _generation(samples, 0)
    config, fit = dict(cache_config), {}
    name, grid = SWEPT[cache]
    trajectories: list[Trajectory] = []
    missing = _MADE.get(cache)
    if missing is not None and missing.setting not in config:
        policy = _middle(generation, cache, config)
        looks_at = getattr(policy, "looks_at", "")
        trajectories = _watched(samples, getattr(policy, "span", None), looks_at)
        config[missing.setting], fit = missing.make(samples, policy, trajectories)
    if cache == "step_cache":
        grid = np.array([t for t in grid if _as_setting(cache, config, t)[-1] >= -1])
    policies = [
        _policy(generation, cache, {**config, name: _as_setting(cache, config, t)})
        for t in grid
    ]
    # On the host, where they are.
    policies = jax.device_get(policies)
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *policies)
    span = getattr(policies[0], "span", None)
    if not trajectories:
        looks_at = getattr(policies[0], "looks_at", "")
        trajectories = _watched(samples, span, looks_at)
    calls = _replayed_calls(generation, stacked, trajectories, span)
    settings = _distinct(grid, calls)

    real: dict[_Setting, tuple[float, dict[str, float]]] = {}

    def measure(setting: _Setting) -> tuple[float, float]:
        """Real model calls and PSNR of a setting."""
        if setting not in real:
            chosen = {**config, name: _as_setting(cache, config, setting.threshold)}
            calls, images = samples.apart(cache=cache, cache_config=chosen)
            real[setting] = calls, samples.quality(images)
        calls, quality = real[setting]
        return calls, shown(quality, samples.output)

    for setting in _spread(settings):
        measure(setting)
    _approach(settings, target, measure)
    best = _best({setting: measure(setting) for setting in real}, target)
    calls, quality = real[best]
    config[name] = _as_setting(cache, config, best.threshold)
    curve = [
        CurvePoint(setting.threshold, *measure(setting), sampled=True)
        if setting in real
        else CurvePoint(setting.threshold, setting.calls, None, sampled=False)
        for setting in settings
    ]
    return Calibration(
        cache=cache,
        cache_config=config,
        target=dict(target),
        met=_meets(target, *measure(best)),
        model_calls=calls,
        quality=quality,
        baseline=samples.plain(max(int(calls), 1)),
        curve=tuple(sorted(curve, key=lambda point: point.model_calls)),
        sampler=samples.sampler,
        fit=fit,
    )


class _Missing(NamedTuple):
    """A setting that the calibration makes where it is not given."""

    setting: str
    make: Callable[[Samples, Policy, list[Trajectory]], tuple[Any, dict[str, Any]]]


def _polynomial(
    samples: Samples, policy: Policy, trajectories: list[Trajectory]
) -> tuple[Any, dict[str, Any]]:
    del samples
    # The first step has nothing to change from.
    inputs, outputs = (
        np.concatenate([np.ravel(x[1:]) for x in jax.device_get(seen)])
        for seen in (
            [t.seen.input_change for t in trajectories],
            [t.seen.output_change for t in trajectories],
        )
    )
    looked_at, signal = "modulated input", _signal(policy)
    if isinstance(signal, EmbeddedTime):
        # What its threshold will be held against.
        inputs, looked_at = time_changes(trajectories, signal.name), "embedded time"
    fit = fit_polynomial(inputs, outputs, looked_at)
    return fit.coefficients, fit._asdict()


def _sensed(
    samples: Samples, policy: Policy, trajectories: list[Trajectory]
) -> tuple[Any, dict[str, Any]]:
    del policy
    # Each under its own condition, without which it would not say what it said.
    each = [_generation(samples, i) for i in range(samples.number)]
    table = sensitivities(each, trajectories)
    return table, {"sencache_sensitivities": table}


def _ratios(
    samples: Samples, policy: Policy, trajectories: list[Trajectory]
) -> tuple[Any, dict[str, Any]]:
    del samples
    of_branches = isinstance(getattr(policy, "gate", None), BranchMask)
    ratios = (branch_ratios if of_branches else mean_ratios)(trajectories)
    return ratios, {"mag_ratios": ratios}


_MADE: Mapping[str, _Missing] = MappingProxyType(
    {
        "tea_cache": _Missing("coefficients", _polynomial),
        "sen_cache": _Missing("sencache_sensitivities", _sensed),
        "mag_cache": _Missing("mag_ratios", _ratios),
    }
)


def _watched(samples: Samples, span: Span | None, looks_at: str) -> list[Trajectory]:
    each = [samples.one(i) for i in range(samples.number)]
    found = watch(samples.params, each, span, looks_at, **samples.shared)
    check_changes(found)
    return found


def _generation(samples: Samples, i: int) -> Generation:
    """The uncached one of a sample."""
    return resolve(samples.params, Options(**samples.shared, **samples.one(i)))


def _policy(generation: Generation, cache: str, config: Mapping[str, Any]) -> Policy:
    model = generation.program.model
    return resolve_policy(cache, model, generation.program.num_steps, config)


def _middle(generation: Generation, cache: str, config: Mapping[str, Any]) -> Policy:
    """The policy of a threshold, with something in the place of what is to be made."""
    name, grid = SWEPT[cache]
    given = {**config, name: _as_setting(cache, config, grid[len(grid) // 2])}
    program = generation.program
    if cache == "mag_cache":
        found = calibrated(program.model, cache, program.num_steps)
        original = as_original(DiffusionCacheConfig.from_dict(given), found)
        shape = (2, program.num_steps) if original else program.num_steps
        given.setdefault("mag_ratios", np.ones(shape))
    if cache == "sen_cache":
        given.setdefault("sencache_sensitivities", {row: [1.0] for row in TABLE})
    return _policy(generation, cache, given)


def _signal(policy: Any) -> Any:
    """What a policy measures; of two that give way to each other, the first's."""
    inner = getattr(policy, "above", getattr(policy, "policy", None))
    return getattr(policy, "signal", None) if inner is None else _signal(inner)


def _as_setting(cache: str, config: Mapping[str, Any], threshold: float) -> Any:
    """The threshold as the setting takes it."""
    threshold = float(threshold)
    if cache != "step_cache":
        return threshold
    # StepCache's tiers move together, and keep their distances to 1 in proportion.
    tiers = config.get("velocity_sim_thresholds", (0.95, 0.93))
    scale = (1 - threshold) / max(1 - tiers[0], 1e-6)
    return [1 - scale * (1 - tier) for tier in tiers]


def _replayed_calls(
    generation: Generation,
    policies: Policy,
    trajectories: list[Trajectory],
    span: Span | None,
) -> np.ndarray:
    """Model calls of every setting, mean over the trajectories."""
    program, policies = generation.program, sent(policies)
    if span is not None:
        computed = [replay_inside(program, policies, t) for t in trajectories]
        return np.mean([c.sum(axis=1) for c in jax.device_get(computed)], axis=0)

    def calls(trajectory: Trajectory) -> np.ndarray:
        response = jax.tree.map(
            lambda x: np.ones(x.shape[0], np.float32), trajectory.samples
        )
        response = sent(response)
        found = jax.lax.map(
            lambda policy: (
                replay_whole(program, policy, trajectory, response).stats.model_calls
            ),
            policies,
        )
        return jax.device_get(found)

    return np.mean([calls(t) for t in trajectories], axis=0)


def _distinct(grid: np.ndarray, calls: np.ndarray) -> list[_Setting]:
    """One threshold for each number of calls, from the middle of those that make it."""
    found = {}
    for count in np.unique(calls):
        alike = grid[calls == count]
        # No more digits than anyone would write down; near 1, of what is left to 1.
        middle = float(alike[len(alike) // 2])
        rest = float(f"{1 - middle:.4g}")
        threshold = 1 - rest if rest < 0.1 else float(f"{middle:.4g}")
        found[count] = _Setting(threshold, float(count))
    return list(found.values())


def _approach(
    settings: list[_Setting],
    target: Mapping[str, float],
    measure: Callable[[_Setting], tuple[float, float]],
) -> None:
    """Measures the settings around the target."""
    if "model_calls" in target:
        # Sampled, a setting may make more calls than replayed, or fewer: those just
        # above the target are tried too.
        near = [s for s in settings if s.calls <= target["model_calls"] + 0.5]
        for setting in reversed(near[-_NEAR_TARGET:]):
            measure(setting)
        return
    low, high = 0, len(settings) - 1
    while low < high:
        middle = (low + high) // 2
        if _meets(target, *measure(settings[middle])):
            high = middle
        else:
            low = middle + 1
    measure(settings[low])


def _best(
    real: Mapping[_Setting, tuple[float, float]], target: Mapping[str, float]
) -> _Setting:
    """Of those measured: the nearest within the calls, or the cheapest near enough."""
    meeting = {s: found for s, found in real.items() if _meets(target, *found)}
    if "model_calls" in target:
        if not meeting:
            return min(real, key=lambda s: real[s][0])
        return max(meeting, key=lambda s: (meeting[s][1], -meeting[s][0]))
    if not meeting:
        return max(real, key=lambda s: real[s][1])
    return min(meeting, key=lambda s: (meeting[s][0], -meeting[s][1]))


def _spread(settings: list[_Setting]) -> list[_Setting]:
    """Some settings all over the curve, to be sampled for it."""
    count = min(_MOST_SAMPLED, len(settings))
    places = np.linspace(0, len(settings) - 1, count).round().astype(int)
    return [settings[place] for place in sorted(set(places.tolist()))]


def _meets(target: Mapping[str, float], calls: float, psnr: float) -> bool:
    if "model_calls" in target:
        return calls <= target["model_calls"]
    return psnr >= target["psnr"]
