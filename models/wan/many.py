"""Films of many prompts through slots, each as it is asked for and as if alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import static_count
from jax_stepcache.errors import brief, naming, unknown_name
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.meshes.beside import arrays_beside
from jax_stepcache.meshes.explicit import in_automatic_context
from jax_stepcache.network.beginning import draw_noise
from jax_stepcache.network.params import Params
from jax_stepcache.options import Request
from jax_stepcache.requests.many import check_by_size, sample_many

from ..encoders.frozen import FrozenEncoders
from ..prompts.texts import texts
from ..seeds import seeds_from
from .asking import ASKED
from .checkpoint.scheduler import Scheduler
from .conditioning import with_first
from .film import WanFilm
from .observing import encoded_once, observed
from .planning import ELSEWHERE, Planned, plan
from .starting import begun_from

# What each film may have of its own besides its prompt, and what all of them share.
_EACH = (*ASKED, "noise", "cache_config", "budget", "forecast")
_TOGETHER = ("solver", "cache", "guidance_interval")
# Of a plan's options, those of a request.
_REQUESTED = (
    "schedule",
    "guidance_scale",
    "strength",
    "cache_config",
    "budget",
    "forecast",
)


class Turn(NamedTuple):
    """A film that waits for a slot.

    Attributes:
        planned: how it is made.
        noise: float32 (1, C, f, h, w), where it is given.
    """

    planned: Planned
    noise: Any = None


class Turns(NamedTuple):
    """Films that are made through slots.

    Attributes:
        each: the films.
        shared: options of `sample_many`, the number of slots among them.
    """

    each: list[Turn]
    shared: dict[str, Any]


def check_together(waits: bool) -> None:
    """Checks that both experts are on the devices.

    Args:
        waits: whether one of them is on the host, meanwhile.

    Raises:
        ValueError: if it is.
    """
    if waits:
        raise ValueError(
            "films by slots may ask both experts at a time, and these are on the "
            "devices one after the other; leave out slots=, or offload no experts"
        )


def turns_of(
    params: Params,
    sampler: Callable[..., SampleResult],
    scheduler: Scheduler,
    films: Any,
    *,
    slots: int,
    seed: int = 0,
    **shared: Any,
) -> Turns:
    """Checks films that are made through slots.

    Args:
        params: see `plan`; so are the following.
        sampler: likewise.
        scheduler: likewise.
        films: a prompt each, or a mapping of it and of what is its own.
        slots: how many are made side by side.
        seed: of the first film's noise; the second's is one more, and so on, but for
            those that have their own.
        **shared: what all have that say nothing else.

    Returns:
        The films, in their order.

    Raises:
        ValueError: for what does not fit, with the film's index.
        TypeError: likewise, or for what there is not.
    """
    if isinstance(films, str | Mapping) or not isinstance(films, Iterable):
        raise TypeError(f"films is {brief(films)}; give prompts, or mappings")
    for name in shared:
        _check_name(name, (*_EACH, *_TOGETHER))
    films, each = list(films), []
    seeds = seeds_from(seed, len(films), "films")
    for index, film in enumerate(films):
        with naming("films", index):
            prompt, own = _read(film)
            given = {"seed": seeds[index], **shared, **own}
            planned = plan(params, sampler, scheduler, prompt, **given)
            each.append(Turn(planned, given.get("noise")))
    together: dict[str, Any] = {"slots": static_count("slots", slots, 1)}
    if not each:
        return Turns(each, together)
    first = each[0].planned
    # Each says its own; where none of a size has any, there is one branch.
    together |= {"guidance_scale": 1.0, **getattr(first.run, "keywords", {})}
    together |= {n: first.options[n] for n in _TOGETHER if n in first.options}
    asked = [_request(turn, **_structs(turn.planned)) for turn in each]
    check_by_size(params, asked, what="films", shapes="each", **together)
    return Turns(each, together)


def turns_of_prompts(
    params: Params,
    sampler: Callable[..., SampleResult],
    scheduler: Scheduler,
    prompt: Any,
    *,
    negative_prompt: Any = None,
    noise: Any = None,
    progress: Any = False,
    decide: str = "sample",
    **shared: Any,
) -> Turns:
    """As `turns_of`, of what a pipeline is called with.

    Args:
        params: see `plan`; so are the others.
        sampler: likewise.
        scheduler: likewise.
        prompt: one, or several.
        negative_prompt: one for all, or as many.
        noise: a row for each.
        progress: refused, as there is no step that all are at.
        decide: each for itself, whatever is said.
        **shared: see `turns_of`.

    Returns:
        The films.

    Raises:
        ValueError: see `turns_of`.
        TypeError: likewise.
    """
    del decide
    if progress:
        raise ValueError(
            "progress shows the steps of one batch, and films by slots are at steps of "
            "their own; leave out progress= or slots="
        )
    prompts = texts(prompt, "prompt")
    films: list[dict[str, Any]] = [{"prompt": text} for text in prompts]
    if negative_prompt is not None:
        words = texts(negative_prompt, "negative_prompt", len(prompts))
        for film, text in zip(films, words, strict=True):
            film["negative_prompt"] = text
    if noise is not None:
        if np.shape(noise)[:1] != (len(films),):
            raise ValueError(
                f"noise has shape {np.shape(noise)}; there are {len(films)} prompts"
            )
        for i, film in enumerate(films):
            film["noise"] = noise[i : i + 1]
    return turns_of(params, sampler, scheduler, films, **shared)


@in_automatic_context
def made_by_turns(
    params: Params, encoders: FrozenEncoders, turns: Turns
) -> list[WanFilm]:
    """Encodes, samples through slots, and decodes one film after the other.

    Args:
        params: the transformers.
        encoders: the networks around them.
        turns: the films.

    Returns:
        The films, in their order.
    """
    if not turns.each:
        return []
    asked = [turn.planned.asked for turn in turns.each]
    encode = encoded_once(encoders, asked)
    shown = [observed(encoders, one, encode) for one in asked]
    requests = []
    for turn, seen in zip(turns.each, shown, strict=True):
        arrays = {"observation": seen, **_begun(encoders, turn)}
        requests.append(_request(turn, **arrays_beside(params.weights, arrays)))
    results = sample_many(params, requests, shapes="each", **turns.shared)
    fps = params.model.release.fps
    films = []
    for result, seen in zip(results, shown, strict=True):
        latents = result.sample
        if "first" in seen:
            latents = with_first(latents, jnp.asarray(seen["first"]))
        # One at a time: a batch of them may not fit.
        (frames,) = np.asarray(jax.device_get(encoders.film(latents)))
        films.append(WanFilm(frames, result.stats, latents[0], fps))
    return films


def _begun(encoders: FrozenEncoders, turn: Turn) -> dict[str, Any]:
    """What a film begins from, whose shape says which size it has."""
    asked, model = turn.planned.asked, turn.planned.params.model
    if asked.video is not None:
        begun = {"init_sample": begun_from(encoders, asked)}
        return begun if turn.noise is None else {**begun, "noise": turn.noise}
    if turn.noise is not None:
        return {"noise": turn.noise}
    return {"noise": draw_noise(asked.keys, model.noise_struct(1))}


def _structs(planned: Planned) -> dict[str, Any]:
    """Shapes of what a film is made of."""
    model, asked = planned.params.model, planned.asked
    shown = {"observation": asked.structs(model), "noise": model.noise_struct(1)}
    return shown if asked.video is None else {**shown, "init_sample": shown["noise"]}


def _request(turn: Turn, **arrays: Any) -> Request:
    options = turn.planned.options
    own = {name: options[name] for name in _REQUESTED if name in options}
    return Request(key=turn.planned.asked.keys, **own, **arrays)


def _read(film: Any) -> tuple[str, dict[str, Any]]:
    """A film's prompt, and what else is its own."""
    if isinstance(film, str):
        return film, {}
    if not isinstance(film, Mapping):
        raise TypeError(f"a film is a prompt, or a mapping; got {brief(film)}")
    own = dict(film)
    for name in own:
        if name in _TOGETHER:
            raise ValueError(f"{name} is shared by all films: give it beside them")
        _check_name(name, ("prompt", *_EACH))
    prompt = own.pop("prompt", None)
    if not isinstance(prompt, str):
        raise TypeError(f"a film's prompt is {brief(prompt)}; give a string")
    return prompt, own


def _check_name(name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise TypeError(unknown_name("argument of a film", name, known, ELSEWHERE))
