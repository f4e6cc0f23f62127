"""What a film will be made with, checked before weights are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from jax_stepcache.loop.result import SampleResult
from jax_stepcache.network.params import Params
from jax_stepcache.sampling import check_sampling

from ..planning import check_names, sampling_of
from .asking import ASKED, Asked, ask
from .checkpoint.scheduler import Scheduler

ELSEWHERE = {
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
    "frames": "num_frames",
    "generator": "seed",
    "key": "seed",
    "output_type": "WanFilm.frames",
}
"""What options are called in other libraries, in plain letters."""

# Options of `sample` that are passed on where they are given.
_ELSE = ("cache", "cache_config", "budget", "forecast", "guidance_interval")
_OWN = (*_ELSE, "noise", "solver", "decide", "progress")
# What of a film's options a table is instead of.
_LEVELS = ("schedule", "num_inference_steps", "shift")


class Planned(NamedTuple):
    """A film that can be made as it is asked for, or several.

    Attributes:
        params: the transformer, or both experts, of the film's size.
        asked: the film.
        run: `jax_stepcache.sample`, or the pipeline's own, which has a cache.
        options: of that.
    """

    params: Params
    asked: Asked
    run: Callable[..., SampleResult]
    options: dict[str, Any]


def plan(
    params: Params,
    sampler: Callable[..., SampleResult],
    scheduler: Scheduler,
    prompt: Any,
    *,
    noise: Any = None,
    solver: Any = None,
    decide: str = "batch",
    progress: Any = False,
    **rest: Any,
) -> Planned:
    """Checks what a pipeline is called with, and makes of it what is run.

    Args:
        params: the transformers; their weights may be `jax.ShapeDtypeStruct`.
        sampler: the pipeline's.
        scheduler: likewise.
        prompt: see `WanPipeline`; so are the others.
        noise: likewise.
        solver: likewise.
        decide: likewise.
        progress: likewise.
        **rest: likewise.

    Returns:
        The plan.

    Raises:
        ValueError: for what does not fit.
        TypeError: for arguments of the wrong kind, or that there are not.
    """
    check_names("WanPipeline", rest, (*ASKED, *_ELSE), (*ASKED, *_OWN), ELSEWHERE)
    film = {name: rest[name] for name in ASKED if name in rest}
    asked = ask(params.model.release, scheduler, prompt, **film)
    model = replace(params.model, latent_size=asked.model.latent_size)
    own = Params(params.weights, model)
    options = {
        "guidance_scale": asked.guidance_scale,
        "key": asked.keys,
        "decide": decide,
        "progress": progress,
    }
    run, fixed, options, tabled = sampling_of(
        model,
        sampler,
        rest,
        _ELSE,
        options,
        levels={"schedule": asked.schedule, "solver": scheduler.solver},
        instead=_LEVELS,
        solver=solver,
    )
    if tabled and film.get("sigmas") is not None:
        raise ValueError("sigmas are given, and a table has its own; leave them out")
    begins = None
    if asked.video is not None:
        begins = model.noise_struct(len(asked.prompts))
        options["strength"] = asked.strength
    check_sampling(
        own,
        **fixed,
        **options,
        observation=asked.structs(model),
        noise=noise,
        init_sample=begins,
    )
    return Planned(own, asked, run, options)
