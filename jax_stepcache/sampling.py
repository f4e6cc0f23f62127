"""`sample`: one call from weights to a sample and an account of how it was made."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec

from jax_stepcache.backends import CacheBackend
from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.batching.per_sample import sampled_each, walked_each
from jax_stepcache.check import fetched
from jax_stepcache.errors import naming_arguments
from jax_stepcache.kept import better_waited_for, kept
from jax_stepcache.loop.denoise import LoopState, denoise_some, result_of
from jax_stepcache.loop.generation import Generation, run_together
from jax_stepcache.loop.gradient import walked, with_derivatives_of, without_derivatives
from jax_stepcache.loop.program import sampled
from jax_stepcache.loop.progress import Progress
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.loop.spread import check_spread, rows_spec
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.beside import arrays_beside
from jax_stepcache.meshes.explicit import (
    in_automatic_context,
    under_automatic_axes,
    with_automatic_axes,
)
from jax_stepcache.network.params import Params, check_params
from jax_stepcache.network.protocol import Denoiser
from jax_stepcache.options import (
    ELSEWHERE,
    Options,
    options_of,
    resolve,
)
from jax_stepcache.policy.policy import Policy
from jax_stepcache.processes import whole_everywhere
from jax_stepcache.solvers import Solver
from jax_stepcache.solvers.schedule import AnySchedule, is_schedule

_EVERYWHERE: Any = PartitionSpec()


@naming_arguments(ELSEWHERE)
def sample(
    params: Any,
    *,
    model: Denoiser | None = None,
    observation: Any = None,
    condition: Any = None,
    negative_condition: Any = None,
    noise: Any = None,
    init_sample: Any = None,
    strength: float | None = None,
    key: jax.Array | None = None,
    cache: str | CacheBackend | Policy | None = None,
    cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    budget: int | None = None,
    forecast: Any = None,
    num_inference_steps: int | None = None,
    solver: str | Solver | None = None,
    shift: float | None = None,
    final_noise: float | Mapping[str, float] | None = None,
    schedule: AnySchedule | str | Mapping[str, AnySchedule | str] | None = None,
    guidance_scale: float | Sequence[float] | jax.Array | None = None,
    progress: bool | Progress = False,
    decide: str = "batch",
    differentiable: bool = False,
    guidance_interval: Sequence[float] | None = None,
) -> SampleResult:
    """Samples a flow-matching model, skipping model calls as the cache decides.

    Compiles once per shape and static setting (model, step count, shift, solver, which
    forecasts). Another threshold, countdown, mask, guidance scale, key, observation or
    set of weights runs the same program. It may be called inside `jax.jit` and
    `jax.vmap`; under `vmap` each element decides for itself, and both branches run.

    Args:
        params: what `load_params` returned; or, with ``model``, any pytree. Large NumPy
            arrays go to the device again at every call, which waits for its result
            then: put them there once, with `jax.device_put`.
        model: your own denoiser, ``(params, sample, t, condition) -> velocity`` over
            pytrees of [batch, ...] arrays, ``t`` being float32[batch] timesteps
            (``1000 * sigma``, truncated, unless ``schedule`` says otherwise); or a
            `StagedDenoiser`, which caches inside the network need. Pass the same
            object each time: another one compiles again.
        observation: what the bundled model is shown, [batch, ...] arrays; None for an
            example of the model's own.
        condition: passed to your denoiser as it is. For a bundled model, what its
            ``prepare`` returned, instead of an observation.
        negative_condition: the unconditional branch's condition, of the same structure,
            for a guidance scale other than 1 with your own denoiser. The rows of both
            are stacked; what all rows share is the same object in both.
        noise: the sample at the first sigma, a pytree of floating [batch, ...] arrays;
            required with ``model``. The result has its structure and dtypes.
        init_sample: what is changed, a picture or a film say: a pytree like ``noise``,
            free of noise. It is mixed with the noise, as much as the first step's sigma
            says, and ``noise`` is what is mixed in; drawn unless given, also with
            ``model``.
        strength: how much of it is changed, in (0, 1]: of N steps the last ``int(N *
            strength)`` are taken, as in diffusers; 1 takes all of them.
        key: draws the noise, where none is given, and the noise of a stochastic
            solver's steps; None for ``jax.random.key(0)``, the same noise at every
            call, as the original DreamZero does. An array of keys has one for each
            sample, which gets the noise that it gets alone.
        cache: a backend's name (see `get_cache_backend`), a backend, a policy, or None
            to run the network at every step.
        cache_config: the backend's settings, by vLLM-Omni's names.
        budget: number of model calls for ``cache="tuned"`` and ``cache="bespoke"``.
        forecast: what a skipped step uses: ``"hold"``, ``"linear"``, ``"damped"``,
            ``"linear_x0"``, ``"taylor"``, ``"newton"``, ``"hermite"``, ``"foca"``,
            ``"dmd"``, ``"offset"``, ``"aligned"``, a `Forecast`, or a mapping with
            one for each output. None for the cache's own.
        num_inference_steps: solver steps; None for the model's default, 16.
        solver: the name of one, such as ``"unipc"`` or ``"dpm++_2m"``, or a `Solver`;
            None for the model's default.
        shift: the schedule's timestep shift; None for the model's default (5 for
            DreamZero, 1 for your own).
        final_noise: sigma at which the schedule stops, in [0, 1), for all outputs or by
            name (``{"video": 0.8}``, DreamZero's decoupled inference).
        schedule: a schedule or `SolverTable` of your own, or one for each output by
            name, instead of step count, shift and final noise; a table is instead of
            ``solver``, too. Or ``"linear"``, ``"karras"``, ``"exponential"``,
            ``"beta"``, ``"ays_sd"``, ``"ays_sdxl"`` or ``"ays_svd"``, for the step
            count.
        guidance_scale: classifier-free guidance; 1 runs the conditional branch alone.
            One number, or one for each sample; None for the model's default.
        progress: True shows a tqdm bar from inside the compiled loop; False compiles no
            host callback.
        decide: who decides in a batch: ``"batch"``, all together, by the mean of what
            the samples' signals say, as the originals do; or ``"sample"``, each for
            itself, with the decisions and the output it would get alone. Arrays in the
            statistics have a leading axis of the batch then.
        differentiable: says that a derivative will be asked for: the way back keeps
            the sample and the cache of every step, and takes each step again rather
            than keep what the network computed in it. Decisions are constants in a
            derivative. False keeps all, which is faster where there is room.
        guidance_interval: two noise levels, ``(lo, hi)``: there is guidance where ``lo
            < sigma <= hi`` (Kynkäänniemi et al. 2024, "Applying Guidance in a Limited
            Interval Improves Sample and Distribution Quality in Diffusion Models"), and
            elsewhere the conditional branch alone is sampled by. With a cache around
            the network, or none, the other is not asked there. Another interval
            compiles again.

    Returns:
        The sample and its statistics.

    Raises:
        ValueError: for anything that does not fit, before it is compiled: what was
            given, what is allowed, and the nearest right name.
        TypeError: where an argument is of the wrong kind.
    """
    # Nothing is bound yet but the arguments, and they are the fields of `Options`.
    given = dict(locals())
    check_params(given.pop("params"), model)
    waits = better_waited_for(params)
    generation = resolve(params if waits else kept(params), Options(**given))
    check_spread(generation)
    result = run_together(functools.partial(_run, decide), sent(generation))
    if waits:
        jax.block_until_ready(result)
    stats = whole_everywhere(result.stats)
    return result._replace(stats=stats._replace(asked=generation.asked))


@in_automatic_context
def sample_by_experts(
    params: Params, bring: Callable[[str], Params], **options: Any
) -> SampleResult:
    """Samples as `sample` does, by experts of which one is on the devices at a time.

    The loop is cut where the schedule passes from one expert to the other, and what it
    carries goes on: sample, solver, cache and statistics are those of one loop.

    Args:
        params: of a model that tells which expert is asked when, see `OfExperts`. Its
            weights are not sent anywhere.
        bring: from an expert's name to its weights, where they run, and the model that
            asks it alone. Called when it is wanted, and what the network is shown is
            sent there; nothing keeps what the last one was.
        **options: of `sample`.

    Returns:
        The sample and its statistics.

    Raises:
        ValueError: see `sample`; and where samples would ask two experts at a time.
        TypeError: likewise.
    """
    check_params(params, options.get("model"))
    asked = options_of(**options)
    if asked.decide != "batch":
        raise ValueError(
            f"decide is {asked.decide!r}, and the experts are on the devices one after "
            "the other: samples that decide each for itself may ask both at a time. "
            "Give decide='batch', or keep both experts on the devices"
        )
    if asked.differentiable:
        raise ValueError(
            "differentiable=True keeps what every step has seen, and the experts are "
            "on the devices one after the other: keep both of them there"
        )
    generation = resolve(params, asked)
    state = None
    for name, steps in _turns(generation):
        brought = bring(name)
        program = generation.program._replace(model=brought.model)
        near = arrays_beside(brought.weights, (generation.inputs, generation.noise))
        one = replace(
            generation,
            program=program,
            weights=brought.weights,
            inputs=near[0],
            noise=near[1],
        )
        check_spread(one)
        del brought
        run = functools.partial(_run_some, steps, state)
        state = run_together(run, sent(with_automatic_axes(one)))
        # The next expert has room only once this one is gone.
        del one, run
        jax.block_until_ready(state)
    assert state is not None
    result = result_of(state)
    stats = whole_everywhere(result.stats)
    return result._replace(stats=stats._replace(asked=generation.asked))


def _turns(generation: Generation) -> Iterator[tuple[str, tuple[int, int]]]:
    """Which expert takes which steps: from the first of them to before the last."""
    (schedule,) = jax.tree.leaves(generation.schedule, is_leaf=is_schedule)
    times = np.asarray(fetched(schedule.timesteps), np.float32)
    names = [generation.program.model.expert_at(float(t)) for t in times]
    first = 0
    for name, some in itertools.groupby(names):
        stop = first + len(list(some))
        yield name, (first, stop)
        first = stop


def check_sampling(params: Any, **options: Any) -> None:
    """Raises what `sample` would raise for bad input, and does nothing else.

    For those who must know before they give something away, as a pipeline does that
    donates its state. Arrays may be `jax.ShapeDtypeStruct`.

    Args:
        params: see `sample`.
        **options: likewise.

    Raises:
        ValueError: see `sample`.
        TypeError: likewise.
    """
    check_params(params, options.get("model"))
    resolve(params, options_of(**options))


@functools.partial(jax.jit, static_argnums=0)
def _run_some(
    steps: tuple[int, int], before: LoopState | None, generation: Generation
) -> LoopState:
    loop = functools.partial(denoise_some, steps=steps, before=before)
    return sampled(generation, loop)


@functools.partial(jax.jit, static_argnums=0)
def _run(decide: str, generation: Generation) -> SampleResult:
    if generation.program.progress is not None:
        # JAX takes no callback into what has derivatives of its own.
        generation = without_derivatives(generation)
        run = sampled
    else:
        run = _sampled_each if decide == "sample" else _sampled
    # A sample is spread as its noise is, which may still be drawn; statistics are the
    # same everywhere.
    drawn = rows_spec(generation)
    return under_automatic_axes(
        run,
        generation,
        lambda specs: SampleResult(specs.noise or drawn, _EVERYWHERE),
    )


_sampled = with_derivatives_of(walked, sampled)
_sampled_each = with_derivatives_of(walked_each, sampled_each)
