"""What pictures will be made with, checked before weights are needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax_stepcache.check import static_count
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.network.params import Params
from jax_stepcache.options import Request
from jax_stepcache.requests.many import check_many
from jax_stepcache.sampling import check_sampling

from ..planning import check_names, sampling_of
from .asking import ASKED, Asked, ask, with_size

ELSEWHERE = {
    "steps": "num_inference_steps",
    "cfg": "guidance_scale",
    "generator": "seed",
    "key": "seed",
    "numimagesperprompt": "num_images",
    "output_type": "FluxPicture.pixels",
}
"""What options are called in other libraries, in plain letters."""

# Options of `sample` that are passed on where they are given.
_ELSE = ("cache", "cache_config", "budget", "forecast")
_OWN = (*_ELSE, "slots", "noise", "solver", "decide", "progress")
# What of a picture's options a table is instead of.
_LEVELS = ("schedule", "num_inference_steps")


class Planned(NamedTuple):
    """Pictures that can be made as they are asked for.

    Attributes:
        params: the transformer, of the pictures' size.
        asked: the pictures.
        run: `jax_stepcache.sample`, or the pipeline's own, which has a cache.
        options: of that.
        slots: how many are made side by side, each with decisions of its own; None for
            all in one batch.
    """

    params: Params
    asked: Asked
    run: Callable[..., SampleResult]
    options: dict[str, Any]
    slots: int | None

    @property
    def shared(self) -> dict[str, Any]:
        """Options of `jax_stepcache.sample_many` for pictures by slots."""
        options = {**getattr(self.run, "keywords", {}), **self.options}
        return {n: x for n, x in options.items() if n not in ("progress", "decide")}


def plan(
    params: Params,
    sampler: Callable[..., SampleResult],
    prompt: Any,
    *,
    slots: int | None = None,
    noise: Any = None,
    solver: Any = None,
    decide: str = "batch",
    progress: Any = False,
    **rest: Any,
) -> Planned:
    """Checks what a pipeline is called with, and makes of it what is run.

    Args:
        params: the transformer; its weights may be `jax.ShapeDtypeStruct`.
        sampler: the pipeline's.
        prompt: see `FluxPipeline`; so are the others.
        slots: likewise.
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
    check_names("FluxPipeline", rest, (*ASKED, *_ELSE), (*ASKED, *_OWN), ELSEWHERE)
    release = params.model.release
    asked = ask(release, prompt, **{name: rest[name] for name in ASKED if name in rest})
    own = Params(params.weights, with_size(params.model, asked))
    options = {"guidance_scale": asked.scale, "progress": progress, "decide": decide}
    run, fixed, options, tabled = sampling_of(
        own.model,
        sampler,
        rest,
        _ELSE,
        options,
        levels={"schedule": asked.schedule, "solver": "euler"},
        instead=_LEVELS,
        solver=solver,
    )
    if tabled and asked.image is not None:
        raise ValueError("a picture begins inside a schedule, and this is a table")
    planned = Planned(own, asked, run, options, slots)
    if slots is not None:
        _check_slots(planned)
    shown = asked.structs(len(asked.prompts))
    asking = {"observation": shown, "noise": noise, "key": asked.keys}
    check_sampling(own, **fixed, **options, **asking)
    return planned


def _check_slots(planned: Planned) -> None:
    """Checks pictures that are made one after the other, by what one of them is."""
    slots = static_count("slots", planned.slots, 1)
    if planned.options["progress"]:
        raise ValueError(
            "progress shows the steps of one batch, and pictures by slots are at steps "
            "of their own; leave out progress= or slots="
        )
    params = planned.params
    one = Request(
        observation=planned.asked.structs(1), noise=params.model.noise_struct(1)
    )
    check_many(params, [one], slots=slots, what="pictures", **planned.shared)
