"""`sample`: one call from weights to a sample and an account of how it was made."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jax_stepcache.backends import CacheBackend, resolve_policy
from jax_stepcache.backends.config import DiffusionCacheConfig
from jax_stepcache.batching.per_sample import sampled_each
from jax_stepcache.errors import unknown_name
from jax_stepcache.loop.program import Program, sampled
from jax_stepcache.loop.progress import Progress, tqdm_progress
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.network.inputs import Inputs, check_inputs, schedules_of
from jax_stepcache.network.own import own_model
from jax_stepcache.network.params import Params
from jax_stepcache.network.protocol import Denoiser
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers import Solver, get_solver
from jax_stepcache.solvers.schedule import Schedule, num_steps_of

# Who decides in a batch.
_DECIDE = {"batch": sampled, "sample": sampled_each}


def sample(
    params: Any,
    *,
    model: Denoiser | None = None,
    observation: Any = None,
    condition: Any = None,
    negative_condition: Any = None,
    noise: Any = None,
    key: jax.Array | None = None,
    cache: str | CacheBackend | Policy | None = None,
    cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
    budget: int | None = None,
    forecast: Any = None,
    num_inference_steps: int | None = None,
    solver: str | Solver | None = None,
    shift: float | None = None,
    final_noise: float | Mapping[str, float] | None = None,
    schedule: Schedule | Mapping[str, Schedule] | None = None,
    guidance_scale: float | jax.Array | None = None,
    progress: bool | Progress = False,
    decide: str = "batch",
) -> SampleResult:
    """Samples a flow-matching model, skipping model calls as the cache decides.

    Compiles once per shape and static setting (model, step count, shift, solver, which
    forecasts). Another threshold, countdown, mask, guidance scale, key, observation or
    set of weights runs the same program. It may be called inside `jax.jit` and
    `jax.vmap`; under `vmap` each element decides for itself, and both branches run.

    Args:
        params: what `load_params` returned; or, with ``model``, any pytree.
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
            for a guidance scale other than 1 with your own denoiser.
        noise: the sample at the first sigma, a pytree of floating [batch, ...] arrays;
            required with ``model``. The result has its structure and dtypes.
        key: draws the noise where none is given; None for ``jax.random.key(0)``, the
            same noise at every call, as the original DreamZero does.
        cache: a backend's name (see `get_cache_backend`), a backend, a policy, or None
            to run the network at every step.
        cache_config: the backend's settings, by vLLM-Omni's names.
        budget: number of model calls for ``cache="tuned"``.
        forecast: what a skipped step uses: ``"hold"``, ``"linear"``, ``"damped"``,
            ``"linear_x0"``, ``"taylor"``, ``"newton"``, a `Forecast`, or a mapping with
            one for each output. None for the cache's own.
        num_inference_steps: solver steps; None for the model's default, 16.
        solver: ``"unipc"``, ``"euler"`` or a `Solver`; None for the model's default.
        shift: the schedule's timestep shift; None for the model's default (5 for
            DreamZero, 1 for your own).
        final_noise: sigma at which the schedule stops, in [0, 1), for all outputs or by
            name (``{"video": 0.8}``, DreamZero's decoupled inference).
        schedule: a schedule of your own, or one for each output by name, instead of
            step count, shift and final noise.
        guidance_scale: classifier-free guidance; 1 runs the conditional branch alone.
            None for the model's default.
        progress: True shows a tqdm bar from inside the compiled loop; False compiles no
            host callback.
        decide: who decides in a batch: ``"batch"``, all together, by the mean of what
            the samples' signals say, as the originals do; or ``"sample"``, each for
            itself, with the decisions and the output it would get alone. Arrays in the
            statistics have a leading axis of the batch then. (Of your own condition,
            arrays with as many leading entries as rows are taken to be rows.)

    Returns:
        The sample and its statistics.

    Raises:
        ValueError: for anything that does not fit, before it is compiled: what was
            given, what is allowed, and the nearest right name.
        TypeError: where an argument is of the wrong kind.
    """
    return _run(
        decide,
        *_resolve(
            params,
            model=model,
            observation=observation,
            condition=condition,
            negative_condition=negative_condition,
            noise=noise,
            key=key,
            cache=cache,
            cache_config=cache_config,
            budget=budget,
            forecast=forecast,
            num_inference_steps=num_inference_steps,
            solver=solver,
            shift=shift,
            final_noise=final_noise,
            schedule=schedule,
            guidance_scale=guidance_scale,
            progress=progress,
            decide=decide,
        ),
    )


_SIGNATURE = inspect.signature(sample)


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
    resolved(params, **options)


def resolved(params: Any, **options: Any) -> Resolved:
    """Checks the arguments of `sample`, and makes of them those of `sampled`.

    Args:
        params: see `sample`.
        **options: likewise.

    Returns:
        The arguments.

    Raises:
        ValueError: see `sample`.
        TypeError: likewise.
    """
    given = _SIGNATURE.bind(params, **options)
    given.apply_defaults()
    return _resolve(**given.arguments)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(decide: str, program: Program, *arguments: Any) -> SampleResult:
    return _DECIDE[decide](program, *arguments)


class Resolved(NamedTuple):
    """The arguments of the compiled sampler."""

    program: Program
    weights: Any
    policy: Policy
    inputs: Inputs
    noise: Any
    key: jax.Array | None
    scale: jax.Array


def _resolve(
    params: Any,
    *,
    model: Any,
    observation: Any,
    condition: Any,
    negative_condition: Any,
    noise: Any,
    key: Any,
    cache: Any,
    cache_config: Any,
    budget: Any,
    forecast: Any,
    num_inference_steps: Any,
    solver: Any,
    shift: Any,
    final_noise: Any,
    schedule: Any,
    guidance_scale: Any,
    progress: Any,
    decide: Any,
) -> Resolved:
    """Checks the arguments of `sample`, and makes of them what is compiled."""
    if decide not in _DECIDE:
        raise ValueError(unknown_name("decide", decide, _DECIDE))
    if decide == "sample" and progress:
        raise ValueError(
            "progress reports the step of a whole batch; with decide='sample' each "
            "sample is at a step of its own"
        )
    if isinstance(params, Params):
        if model is not None:
            raise TypeError(
                "params already name their model; with a model of your own, pass "
                "params.weights"
            )
        weights, network = params.weights, params.model
    else:
        weights, network = params, own_model(model, noise)

    defaults = network.defaults
    scale = defaults.guidance_scale if guidance_scale is None else guidance_scale
    guided = isinstance(scale, Tracer) or float(scale) != 1.0
    if schedule is None:
        schedule = schedules_of(
            network.outputs,
            defaults.num_inference_steps
            if num_inference_steps is None
            else num_inference_steps,
            defaults.shift if shift is None else shift,
            final_noise,
        )
    elif not (num_inference_steps is None and shift is None and final_noise is None):
        raise ValueError(
            "a schedule fixes the steps; give either it or num_inference_steps, shift "
            "and final_noise"
        )
    elif isinstance(schedule, Schedule) and network.outputs is not None:
        schedule = dict.fromkeys(network.outputs, schedule)

    policy = resolve_policy(
        cache, network, num_steps_of(schedule), cache_config, budget, forecast
    )
    inputs = check_inputs(
        network, observation, condition, negative_condition, noise, guided
    )
    if noise is None:
        key = jax.random.key(0) if key is None else key
    schedules, structure = jax.tree.flatten(
        schedule, is_leaf=lambda node: isinstance(node, Schedule)
    )
    program = Program(
        network,
        tuple(schedules),
        structure,
        get_solver(defaults.solver if solver is None else solver),
        guided,
        tqdm_progress() if progress is True else progress or None,
    )
    return Resolved(program, weights, policy, inputs, noise, key, jnp.float32(scale))
