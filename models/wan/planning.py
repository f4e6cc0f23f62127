"""What a film will be made with, checked before weights are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from jax_stepcache.errors import unknown_name
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.network.params import Params
from jax_stepcache.options import brings_table
from jax_stepcache.sampling import check_sampling, sample

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
    for name in rest:
        if name not in (*ASKED, *_ELSE):
            known = (*ASKED, *_OWN)
            raise TypeError(
                unknown_name("argument of WanPipeline", name, known, ELSEWHERE)
            )
    film = {name: rest[name] for name in ASKED if name in rest}
    asked = ask(params.model.release, scheduler, prompt, **film)
    model = replace(params.model, latent_size=asked.model.latent_size)
    own = Params(params.weights, model)
    options: dict[str, Any] = {
        "guidance_scale": asked.guidance_scale,
        "key": asked.keys,
        "decide": decide,
        "progress": progress,
    }
    options |= {name: rest[name] for name in _ELSE if rest.get(name) is not None}
    run = sample if "cache" in options else sampler
    fixed = getattr(run, "keywords", {})
    levels = {"schedule": asked.schedule, "solver": scheduler.solver}
    if brings_table(model, **fixed, **options, schedule=film.get("schedule")):
        # It brings both; what is said beside it is told by `sample`.
        levels = {name: film[name] for name in _LEVELS if film.get(name) is not None}
        if film.get("sigmas") is not None:
            raise ValueError(
                "sigmas are given, and a table has its own; leave them out"
            )
    options |= levels if solver is None else {**levels, "solver": solver}
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
