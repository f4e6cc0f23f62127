"""Which threshold? The setting of a cache that meets a target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from jax_stepcache.backends import DiffusionCacheConfig
from jax_stepcache.backends.config import wrong_config
from jax_stepcache.backends.selector import ELSEWHERE
from jax_stepcache.calibration.bespoke import calibrate_bespoke
from jax_stepcache.calibration.result import Calibration
from jax_stepcache.calibration.samples import make_samples
from jax_stepcache.calibration.schedules import calibrate_schedule
from jax_stepcache.calibration.table_options import TableFit
from jax_stepcache.calibration.thresholds import (
    SWEPT,
    calibrate_threshold,
    check_threshold,
)
from jax_stepcache.calibration.unreached import reached
from jax_stepcache.check import check_count, check_key, check_numbers
from jax_stepcache.errors import unknown_name
from jax_stepcache.kept import kept
from jax_stepcache.loop.generation import Generation
from jax_stepcache.network.params import check_params
from jax_stepcache.network.protocol import Denoiser
from jax_stepcache.options import options_of, resolve
from jax_stepcache.solvers import SolverTable
from jax_stepcache.solvers.schedule import is_schedule
from jax_stepcache.solvers.stochastic import draws_noise

_TARGETS = ("model_calls", "psnr")
# What is found without a threshold.
_WHOLE = ("tuned", "bespoke", "none")
# By descent, on many samples.
_FITTED = ("bespoke", "none")
_FEW, _MANY = 8, 256
_ALIASES = {"stepcache": "step_cache", "step_cache_dit": "step_cache"}


def calibrate(
    params: Any,
    model: Denoiser | None = None,
    samples: int | Mapping[str, Any] | None = None,
    *,
    target: Mapping[str, float],
    cache: str = "tuned",
    cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    key: jax.Array | None = None,
    replay: bool = True,
    fit: TableFit | Mapping[str, Any] | None = None,
    **options: Any,
) -> Calibration:
    """Finds the setting of a cache that meets a target.

    Uncached trajectories are sampled once. A threshold is then replayed over what was
    seen on them, however many are tried; only the few that matter are sampled for real.
    ``"tuned"`` searches which steps run and what the others use, by replaying too.
    ``"bespoke"`` descends from the best that is known to a table of its own, ``"none"``
    from the usual noise levels to those by which plain steps come nearest.

    Args:
        params: see `sample`.
        model: a denoiser of your own; see `sample`.
        samples: how many of a bundled model's own to draw; or a mapping with ``noise``
            and what else `sample` takes of ``observation``, ``condition`` and
            ``negative_condition``, [samples, ...] arrays. None draws 8, and 256 for
            ``"bespoke"`` and ``"none"``, where few would be fitted by heart.
        target: ``{"model_calls": 6}``: the best setting of as many calls or fewer, in
            the mean; or ``{"psnr": 35.0}``: the cheapest that is so near to the
            uncached samples, in dB.
        cache: ``"tuned"``, ``"bespoke"``, ``"none"`` (the noise levels of plain steps),
            or the name of a backend with a threshold.
        cache_config: the backend's other settings.
        key: draws observations and noise.
        replay: False samples every candidate of ``"tuned"``, for small models.
        fit: how a table of ``"bespoke"`` is fitted, or the levels of ``"none"``.
        **options: of `sample` (``num_inference_steps``, ``guidance_scale``, ...).
            ``schedule`` may also be a function of the step count, which makes those of
            the plain steps that it is compared with; for these, a schedule that is
            given is spread over fewer steps. ``decide="sample"`` samples a threshold's
            samples in one batch rather than one by one, with the same decisions.

    Returns:
        The setting (``sample(params, **calibration.options)``), what it costs and
        gives, and the curve it was chosen from. For TeaCache its ``fit`` has the
        polynomial and R², for MagCache the ratios.

    Raises:
        TargetNotReached: a ValueError, where no setting meets the target: it says the
            best that was found, and has it as ``best``.
        ValueError: for anything that does not fit, before anything is sampled; or for
            a model that answers NaN, or the same at every step.
        TypeError: likewise.
    """
    _check_target(target)
    check_params(params, model)
    cache = _checked_cache(cache)
    if not isinstance(cache_config, DiffusionCacheConfig | Mapping | None):
        raise TypeError(wrong_config(cache_config))
    if isinstance(cache_config, DiffusionCacheConfig):
        default = DiffusionCacheConfig()
        given = vars(cache_config).items()
        cache_config = {k: x for k, x in given if x is not getattr(default, k)}
    config = kept(dict(cache_config or {}))
    if cache in _WHOLE and config:
        raise ValueError(
            f"cache_config {sorted(config)} is for caches with a threshold; {cache!r} "
            "finds all of its settings"
        )
    fit = _checked_fit(fit, cache)
    if cache in SWEPT and SWEPT[cache][0] in config and cache != "step_cache":
        raise ValueError(f"{SWEPT[cache][0]} is what is to be found; leave it out")
    _check_options(options)
    if key is not None:
        check_key(key)
    if samples is None:
        samples = _MANY if cache in _FITTED else _FEW
    drawn = make_samples(params, model, samples, key, options)
    generation = resolve(params, options_of(**drawn.shared, **drawn.batch))
    _check_solver(generation.program.solver)
    if cache in _FITTED:
        _check_calls(target)
        found = calibrate_bespoke(drawn, target, fit, levels=cache == "none")
        return reached(found)
    if cache == "tuned":
        _check_budget(target, generation.program.num_steps)
        return reached(calibrate_schedule(drawn.measured(), target, replay=replay))
    check_threshold(generation, cache, config)
    if cache == "tea_cache" and "coefficients" not in config:
        _check_changes_to_fit(drawn.number, generation)
    return reached(calibrate_threshold(drawn.measured(), cache, config, target))


def _checked_cache(cache: Any) -> str:
    """The name of a cache that can be calibrated."""
    known = [*_WHOLE, *SWEPT]
    if not isinstance(cache, str):
        raise TypeError(f"cache is {cache!r:.80}; give a name, one of {sorted(known)}")
    name = _ALIASES.get(cache.lower(), cache.lower())
    if name not in known:
        said = unknown_name("cache to calibrate", cache, known, ELSEWHERE)
        raise ValueError(f"{said}. Others have no threshold")
    return name


def _check_target(target: Mapping[str, float]) -> None:
    if not isinstance(target, Mapping) or len(target) != 1:
        raise TypeError(
            f"target is {target!r}; give {{'model_calls': 6}} or {{'psnr': 35.0}}"
        )
    ((name, value),) = target.items()
    if name not in _TARGETS:
        raise ValueError(unknown_name("target", name, _TARGETS))
    check_numbers(f"target {name}", value, above=0.0)


def _check_changes_to_fit(samples: int, generation: Generation) -> None:
    """Checks that a polynomial of degree 4 has something to be fitted to."""
    program = generation.program
    changes = (program.num_steps - 1) * samples * (2 if program.guided else 1)
    if changes < 5:
        raise ValueError(
            f"samples is {samples} and num_inference_steps {program.num_steps}: that "
            f"is {changes} changes from step to step, and TeaCache's polynomial needs "
            "5 or more. Give more samples or steps, or coefficients in cache_config"
        )


def _checked_fit(fit: Any, cache: str) -> TableFit:
    """How a table is fitted, of a mapping too."""
    if fit is not None and cache not in _FITTED:
        raise ValueError(f"fit goes with cache='bespoke' or 'none', not {cache!r}")
    if isinstance(fit, Mapping):
        return TableFit(**fit)
    if not isinstance(fit, TableFit | None):
        raise TypeError(f"fit is {fit!r:.80}; give a mapping or a TableFit")
    return TableFit() if fit is None else fit


def _check_calls(target: Mapping[str, float]) -> None:
    """Checks that a table can have so many calls."""
    calls = target.get("model_calls")
    if calls is None:
        return
    if calls != int(calls):
        raise ValueError(f"target is {dict(target)}; a table makes whole calls")
    check_count("target model_calls", int(calls), 1)


def _check_options(options: Mapping[str, Any]) -> None:
    """Checks for options of `sample` that belong elsewhere here."""
    for name in ("budget", "forecast", "progress"):
        if name in options:
            raise ValueError(f"{name}= is no option here; see cache_config")
    for name in ("noise", "observation", "condition", "negative_condition"):
        if name in options:
            raise ValueError(f"{name}= goes into samples={{{name!r}: ...}}")
    given = jax.tree.leaves(options.get("schedule"), is_leaf=is_schedule)
    if any(isinstance(one, SolverTable) for one in given):
        raise ValueError(
            "schedule is a table already; a calibration begins with noise levels, and "
            "knows the model's own tables"
        )


def _check_solver(solver: Any) -> None:
    """Checks the solver that is asked for, or the model's own."""
    if draws_noise(solver) or hasattr(solver, "expanded"):
        why = "draws noise" if draws_noise(solver) else "calls the network twice"
        raise ValueError(
            f"solver is {solver!r:.80}, which {why} at a step; a calibration replays "
            "steps of one call, which are the same again"
        )


def _check_budget(target: Mapping[str, float], num_steps: int) -> None:
    """Checks that a schedule can keep to a number of model calls."""
    calls = target.get("model_calls")
    if num_steps < 3:
        raise ValueError(
            f"num_inference_steps is {num_steps}, which leaves no schedule to be "
            "found; it must be at least 3"
        )
    if calls is not None and not 1 <= int(calls) < num_steps:
        raise ValueError(
            f"target is {dict(target)}; a schedule of {num_steps} steps has room for 1 "
            f"to {num_steps - 1} model calls"
        )
