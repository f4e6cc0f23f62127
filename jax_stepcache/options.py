"""What `sample` is asked with, checked once and made into a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Self

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.backends import CacheBackend, resolve_cache
from jax_stepcache.backends.odd import warn_of_no_reuse, warn_of_others
from jax_stepcache.check import (
    batch_size,
    check_key,
    fetched,
)
from jax_stepcache.errors import naming_fields, unknown_name
from jax_stepcache.kept import kept
from jax_stepcache.loop.generation import Generation, program_of, tables_of
from jax_stepcache.loop.gradient import check_differentiable
from jax_stepcache.loop.progress import Progress, as_progress
from jax_stepcache.network.beginning import begun, check_beginning
from jax_stepcache.network.inputs import check_inputs, default_key, usual_schedules
from jax_stepcache.network.interval import check_interval
from jax_stepcache.network.optimised import with_own_levels
from jax_stepcache.network.own import own_model
from jax_stepcache.network.params import Params
from jax_stepcache.network.protocol import Denoiser
from jax_stepcache.network.scale import check_scale_of_each, scale_of
from jax_stepcache.nodes import parts_of
from jax_stepcache.policy.asked import asked_of
from jax_stepcache.policy.named import Uncached
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.span import check_decides_alone
from jax_stepcache.solvers import Solver, get_solver
from jax_stepcache.solvers.base import calls_of
from jax_stepcache.solvers.bespoke import checked_tables, solver_of
from jax_stepcache.solvers.named_schedules import has_names, without_names
from jax_stepcache.solvers.schedule import is_schedule, num_steps_of
from jax_stepcache.solvers.stochastic import draws_noise
from jax_stepcache.solvers.strength import begun_at
from jax_stepcache.solvers.table_family import in_family, over_of

_DECIDE = ("batch", "sample")

TABLE_BRINGS = ("num_inference_steps", "shift", "final_noise", "schedule", "solver")
"""What a table is instead of."""

# What options are called in other libraries, in plain letters.
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("steps", "numsteps", "nsteps"), "num_inference_steps"),
        **dict.fromkeys(("cfg", "cfgscale", "scale", "guidance"), "guidance_scale"),
        **dict.fromkeys(("seed", "rng", "generator", "prngkey", "rngs"), "key"),
        **dict.fromkeys(("latents", "latent", "x", "xt", "z", "sample"), "noise"),
        **dict.fromkeys(("prompt", "text", "context", "cond", "label"), "condition"),
        **dict.fromkeys(("negativeprompt", "uncond", "null"), "negative_condition"),
        **dict.fromkeys(("obs", "input", "inputs"), "observation"),
        **dict.fromkeys(("scheduler", "sampler", "method"), "solver"),
        **dict.fromkeys(("sigmas", "timesteps", "times"), "schedule"),
        **dict.fromkeys(("config", "cachesettings", "settings"), "cache_config"),
        **dict.fromkeys(("callback", "verbose", "pbar"), "progress"),
        **dict.fromkeys(("network", "fn", "denoiser", "transformer"), "model"),
        **dict.fromkeys(("weights", "variables"), "params"),
        **dict.fromkeys(("image", "video", "initimage", "initlatents"), "init_sample"),
        **dict.fromkeys(("denoisingstrength", "denoise"), "strength"),
        "cachebackend": "cache",
        "flowshift": "shift",
    }
)


@naming_fields(ELSEWHERE)
@dataclass(frozen=True, eq=False)
class Request:
    """One sample to be made. Its result is what `sample` gives for it alone.

    Every field is the option of `sample` of that name; None leaves it to what all
    requests share. Arrays are batches of one, as for `sample`.

    Attributes:
        observation: what a bundled model is shown.
        condition: what a model of one's own is told.
        negative_condition: what it is told in the unconditional branch.
        noise: the sample at the first sigma.
        init_sample: what is begun from in place of noise alone.
        strength: how much of it is changed.
        key: draws the noise where none is given, and that of steps.
        cache: a backend, a policy, or a name; all requests have the same parts in it,
            with other numbers.
        cache_config: the cache's settings.
        budget: model calls, for ``cache="tuned"`` and ``cache="bespoke"``.
        forecast: what a skipped step uses.
        num_inference_steps: solver steps.
        shift: timestep shift.
        final_noise: sigma at which the schedule stops.
        schedule: a schedule, instead of ``num_inference_steps``, ``shift`` and
            ``final_noise``; or the name of one, which goes with the first of these.
        guidance_scale: classifier-free guidance.
    """

    observation: Any = None
    condition: Any = None
    negative_condition: Any = None
    noise: Any = None
    init_sample: Any = None
    strength: float | None = None
    key: jax.Array | None = None
    cache: Any = None
    cache_config: Any = None
    budget: int | None = None
    forecast: Any = None
    num_inference_steps: int | None = None
    shift: float | None = None
    final_noise: Any = None
    schedule: Any = None
    guidance_scale: float | Sequence[float] | jax.Array | None = None

    def options(self) -> dict[str, Any]:
        """Those that are given."""
        names = [field.name for field in fields(self)]
        given = {name: getattr(self, name) for name in names}
        return {name: x for name, x in given.items() if x is not None}

    def kept(self) -> Self:
        """The same, whatever becomes of the NumPy arrays that were given."""
        # A model may hold arrays, too; but another object is another program.
        given = {name: getattr(self, name) for name in _GIVEN}
        own = kept(given)
        return self if own is given else replace(self, **own)


# As an attribute, so that the class stays what type checkers know of it.
_GIVEN = tuple(field.name for field in fields(Request))


@dataclass(frozen=True, eq=False, kw_only=True)
class Options(Request):
    """All that `sample` is asked with; it documents each option.

    Attributes:
        model: a denoiser of one's own.
        solver: the solver.
        progress: where to report each step.
        decide: who decides in a batch.
        differentiable: whether a derivative will be asked for.
        guidance_interval: noise levels between which there is guidance.
    """

    model: Denoiser | None = None
    solver: str | Solver | None = None
    progress: bool | Progress = False
    decide: str = "batch"
    differentiable: bool = False
    guidance_interval: Sequence[float] | None = None


def options_of(**given: Any) -> Options:
    """Makes options of what a caller passes on.

    Raises:
        TypeError: for a name that `sample` does not take, with the nearest of its own.
    """
    known = [field.name for field in fields(Options)]
    for name in given:
        if name not in known:
            raise TypeError(unknown_name("option", name, known, ELSEWHERE))
    return Options(**given)


def resolve(params: Any, options: Options) -> Generation:
    """Checks what `sample` is asked with, and makes of it what is compiled.

    Args:
        params: see `sample`. They have been through `check_params`: whoever resolves
            many requests checks them once.
        options: likewise. Arrays may be `jax.ShapeDtypeStruct`.

    Returns:
        The generation.

    Raises:
        ValueError: see `sample`.
        TypeError: likewise.
    """
    options = options.kept()
    _check_who_decides(options)
    check_differentiable(options.differentiable, options.progress)
    check_beginning(options.init_sample, options.strength)
    weights, model = _weights_and_model(params, options)
    scale = scale_of(_or(options.guidance_scale, model.defaults.guidance_scale))
    guided = isinstance(scale, Tracer) or bool((np.asarray(fetched(scale)) != 1).any())
    # Of scales of each sample, some part may be 1 throughout; it goes with its rows.
    of_each = np.ndim(_or(options.guidance_scale, 0.0)) == 1
    guided |= of_each and options.negative_condition is not None
    cache = resolve_cache(
        options.cache, model, options.cache_config, options.budget, options.forecast
    )
    schedule, policy = _schedule_and_policy(cache, model, options)
    if options.decide == "sample":
        check_decides_alone(getattr(policy, "span", None))
    noise, init = options.noise, options.init_sample
    if init is not None:
        noise = begun(model, schedule, init, noise, options.key)
    inputs = check_inputs(
        model,
        options.observation,
        options.condition,
        options.negative_condition,
        noise,
        guided,
    )
    check_scale_of_each(scale, noise, inputs.observation)
    tables = tables_of(schedule)
    if tables is None:
        solver = _solver(options, model)
    else:
        solver = solver_of(tables, options.solver)
    key = options.key
    if key is not None:
        check_key(key, _rows(noise, inputs.observation))
        # Of a batch of one, a key for each is one key.
        alone = isinstance(key, jax.Array) and key.shape == (1,)
        key = key.reshape(()) if alone else key
    elif options.noise is None or draws_noise(solver):
        key = default_key()
    progress = as_progress(options.progress)
    interval = check_interval(options.guidance_interval)
    interval = interval if guided else None
    asked = asked_of(policy, num_steps_of(schedule), 2 if guided else 1)
    if interval is not None and getattr(policy, "span", None) is None:
        asked = replace(asked, apart=True, interval=True)
    warn_of_no_reuse(options.cache, num_steps_of(schedule), asked)
    return Generation(
        program=program_of(
            model,
            schedule,
            solver,
            guided,
            progress,
            bool(options.differentiable),
            interval,
            parts_of(policy),
        ),
        weights=weights,
        policy=policy,
        inputs=inputs,
        noise=noise,
        key=key,
        scale=scale,
        asked=asked,
        tables=tables,
    )


def _rows(noise: Any, observation: Any) -> int:
    if noise is not None:
        return batch_size(noise, "noise")
    return 1 if observation is None else batch_size(observation, "observation")


def _or(given: Any, default: Any) -> Any:
    return default if given is None else given


def _check_who_decides(options: Options) -> None:
    if options.decide not in _DECIDE:
        raise ValueError(unknown_name("decide", options.decide, _DECIDE))
    if options.decide == "sample" and options.progress:
        raise ValueError(
            "progress reports the step of a whole batch; with decide='sample' each "
            "sample is at a step of its own"
        )


def _weights_and_model(params: Any, options: Options) -> tuple[Any, Any]:
    if not isinstance(params, Params):
        like = options.init_sample if options.noise is None else options.noise
        return params, own_model(options.model, like)
    if options.model is not None:
        raise TypeError(
            "params already name their model; with a model of your own, pass "
            "params.weights"
        )
    return params.weights, params.model


def _schedule(options: Options, model: Any) -> Any:
    """The schedule, or one for each output where the model names its outputs."""
    steps = (options.num_inference_steps, options.shift, options.final_noise)
    if options.schedule is None:
        return usual_schedules(
            model,
            _or(options.num_inference_steps, model.defaults.num_inference_steps),
            _or(options.shift, model.defaults.shift),
            options.final_noise,
        )
    given = options.schedule
    if has_names(given):
        if any(one is not None for one in steps[1:]):
            raise ValueError(
                f"schedule is {given!r:.80}, whose levels are its own; shift and "
                "final_noise are those of the usual one, so leave them out"
            )
        count = _or(options.num_inference_steps, model.defaults.num_inference_steps)
        given = with_own_levels(given, model, count, _solver(options, model))
        given = without_names(given, count)
    elif any(one is not None for one in _besides(given, options)):
        raise ValueError(
            "a schedule fixes the steps; give either it or num_inference_steps, shift "
            "and final_noise"
        )
    schedule = checked_tables(in_family(given, options, model.defaults))
    if is_schedule(schedule) and model.outputs is not None:
        return dict.fromkeys(model.outputs, schedule)
    return schedule


def _schedule_and_policy(
    cache: CacheBackend | Policy, model: Any, options: Options
) -> tuple[Any, Policy]:
    """Which steps there are, and what a cache makes of them."""

    def calls() -> Any:
        steps = _schedule(options, model)
        if options.strength is not None:
            steps = begun_at(steps, options.strength)
        return calls_of(_solver(options, model), steps)

    if not isinstance(cache, CacheBackend):
        return calls(), cache
    tables = _brought(cache, model, options)
    if tables is not None:
        warn_of_others(cache.holds_for(model, True), options, model)
        if options.strength is not None:
            begun_at(tables, options.strength)  # Which says why not.
        return tables, Uncached()
    schedule = calls()
    policy = cache.policy_of_steps(model, schedule)
    warn_of_others(cache.holds_for(model, False), options, model)
    return schedule, policy


def brings_table(model: Any, **options: Any) -> bool:
    """Whether a table is stepped by: one that is the schedule, or the cache's.

    For those who fill in what is left open: a table brings schedule and solver.

    Args:
        model: the model.
        **options: of `sample`, of which its cache's and ``schedule`` are looked at.

    Returns:
        Whether there is one.

    Raises:
        ValueError: for a cache, or settings, that there are not.
    """
    asked = Options(**options)
    if is_schedule(asked.schedule) and tables_of(asked.schedule) is not None:
        return True
    cache = resolve_cache(
        asked.cache, model, asked.cache_config, asked.budget, asked.forecast
    )
    return isinstance(cache, CacheBackend) and cache.tables(model, {}) is not None


def _brought(cache: CacheBackend, model: Any, options: Options) -> Any:
    """The tables that a backend brings instead of schedule and solver, or None."""
    asked = {name: getattr(options, name) for name in TABLE_BRINGS}
    asked = {name: given for name, given in asked.items() if given is not None}
    tables = in_family(cache.tables(model, asked), options, model.defaults)
    if is_schedule(tables) and model.outputs is not None:
        return dict.fromkeys(model.outputs, tables)
    return tables


def _besides(given: Any, options: Options) -> tuple[Any, ...]:
    """What a schedule is given instead of, and may not be given beside."""
    return (
        options.num_inference_steps,
        None if over_of(given) == "shift" else options.shift,
        options.final_noise,
    )


def _solver(options: Options, model: Any) -> Solver:
    return get_solver(_or(options.solver, model.defaults.solver))
