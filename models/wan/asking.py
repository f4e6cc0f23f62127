"""What a film is asked with, checked, and completed by the release."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_numbers, static_count
from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path
from jax_stepcache.solvers.named_schedules import get_schedule
from jax_stepcache.solvers.strength import begun_at

from ..films import read_film
from ..pictures import FITS, as_picture
from ..prompts.texts import texts
from ..seeds import seeds_from
from .checkpoint.scheduler import SPACINGS, Scheduler
from .model import WanModel, model_of
from .prompt import negative_prompt as negative_of
from .sizes import WanRelease
from .sizing import check_extent, check_guidance, check_pictures, film_size

_STRENGTH = 0.8


@dataclass(frozen=True, eq=False)
class Asked:
    """A film, or several, to be made.

    Attributes:
        model: the transformer, of the film's size.
        size: frames, rows and columns of the film, in pixels.
        prompts: one for each film.
        negatives: likewise, or None without guidance.
        image: uint8 (H, W, 3) of the first frame, or None.
        last_image: likewise of the last one.
        video: uint8 (F, H, W, 3) that is begun from, or None.
        strength: how much of it is changed, or None.
        fit: how pictures get the film's size, see `FITS`.
        guidance_scale: 1 without guidance.
        guidance_scale_2: of the second expert; None without one.
        schedule: the noise levels.
        keys: a PRNG key, or one for each of several prompts.
    """

    model: WanModel
    size: tuple[int, int, int]
    prompts: tuple[str, ...]
    negatives: tuple[str, ...] | None
    image: np.ndarray | None
    last_image: np.ndarray | None
    video: np.ndarray | None
    strength: float | None
    fit: str
    guidance_scale: float
    guidance_scale_2: float | None
    schedule: Any
    keys: jax.Array

    def structs(self, model: WanModel) -> dict[str, Any]:
        """Shapes of what the transformer will be shown."""
        key = jax.random.key(0)
        shown = dict(jax.eval_shape(lambda k: model.example(k, len(self.prompts)), key))
        if self.negatives is None:
            shown.pop("negative_text", None)
        return shown


def ask(
    release: WanRelease,
    scheduler: Scheduler,
    prompt: Any,
    *,
    negative_prompt: Any = None,
    image: Any = None,
    last_image: Any = None,
    video: Any = None,
    strength: float | None = None,
    height: int | None = None,
    width: int | None = None,
    num_frames: int | None = None,
    fit: str | None = None,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    guidance_scale_2: float | None = None,
    seed: int = 0,
    schedule: Any = None,
    sigmas: str | None = None,
    shift: float | None = None,
) -> Asked:
    """Checks what a film is asked with; see `WanPipeline`."""
    prompts = texts(prompt, "prompt")
    check_pictures(release, image, last_image)
    check_guidance(release, guidance_scale_2)
    if fit is not None and fit not in FITS:
        raise ValueError(unknown_name("way to fit pictures", fit, FITS))
    first = None if image is None else as_picture(image)
    last = None if last_image is None else as_picture(last_image, "last_image")
    begins = None if video is None else _video(video)
    if begins is None and strength is not None:
        raise ValueError(
            "strength is how much of a video is changed: give video=, or --video FILE "
            "on the command line"
        )
    if fit is not None and first is None and last is None and begins is None:
        raise ValueError(
            "fit is how a picture, or a video, gets the film's size, and there is none "
            "to fit: leave it out"
        )
    seen = None if first is None else (first.shape[0], first.shape[1])
    seen = seen if begins is None else (begins.shape[1], begins.shape[2])
    rows, columns = film_size(release, height, width, seen)
    if num_frames is None and begins is not None:
        num_frames = len(begins)
    frames = release.num_frames if num_frames is None else num_frames
    model = model_of(release, (rows, columns), frames)
    check_extent(release, frames, rows, columns)
    if begins is not None and len(begins) != frames:
        raise ValueError(f"video has {len(begins)} frames; the film has {frames}")
    high, low = _scales(release, guidance_scale, guidance_scale_2)
    levels = _schedule(release, scheduler, num_inference_steps, schedule, sigmas, shift)
    if begins is not None:
        strength = _STRENGTH if strength is None else strength
        begun_at(levels, strength)  # Which says where no step is left.
    negatives = None
    if high > 1:
        usual = negative_of(release.task, len(release.experts))
        given = usual if negative_prompt is None else negative_prompt
        negatives = texts(given, "negative_prompt", len(prompts))
    return Asked(
        model,
        (frames, rows, columns),
        prompts,
        negatives,
        first,
        last,
        begins,
        strength,
        fit or (_original_fit(release) if height is None else "stretched"),
        high,
        low,
        levels,
        _keys(seed, None if isinstance(prompt, str) else len(prompts)),
    )


ASKED = tuple(
    name
    for name, one in inspect.signature(ask).parameters.items()
    if one.kind is one.KEYWORD_ONLY
)
"""The names of what `ask` may be told besides a prompt."""


def _scales(
    release: WanRelease, first: float | None, second: float | None
) -> tuple[float, float | None]:
    """Guidance of both experts; a scale of up to 1 is none, of either."""
    for what, scale in (("guidance_scale", first), ("guidance_scale_2", second)):
        if scale is not None:
            check_numbers(what, scale, least=0)
    high = release.guidance_scale if first is None else float(first)
    if release.boundary_ratio is None:
        return max(high, 1.0), None
    usual = release.guidance_scale_2 if first is None else high
    low = usual if second is None else float(second)
    assert low is not None  # A release of two experts says both.
    if high <= 1 < low:
        raise ValueError(
            f"guidance_scale is {high}, which is no guidance; guidance_scale_2 is {low}"
            ": both experts have guidance, or neither"
        )
    return max(high, 1.0), max(low, 1.0)


def _schedule(
    release: WanRelease,
    scheduler: Scheduler,
    steps: int | None,
    schedule: Any,
    sigmas: str | None,
    shift: float | None,
) -> Any:
    count = release.num_inference_steps if steps is None else steps
    count = static_count("num_inference_steps", count, 1)
    if schedule is not None:
        others = {"sigmas": sigmas, "shift": shift}
        if not isinstance(schedule, str):
            others["num_inference_steps"] = steps
        for name, given in others.items():
            if given is not None:
                raise ValueError(f"schedule and {name} are given; leave one out")
        return get_schedule(schedule, count) if isinstance(schedule, str) else schedule
    if sigmas is not None and sigmas not in SPACINGS:
        raise ValueError(unknown_name("sigmas", sigmas, SPACINGS))
    own = scheduler if sigmas is None else scheduler._replace(spacing=sigmas)
    return own.schedule(count, shift)


def _original_fit(release: WanRelease) -> str:
    return "covered" if release.task == "ti2v" else "bicubic"


def _video(video: Any) -> np.ndarray:
    if isinstance(video, str | os.PathLike):
        file = as_path(video, "video")
        if not file.is_file():
            raise FileNotFoundError(f"video: there is no film {str(file)!r}")
        video = read_film(file)
    array = np.asarray(video)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        raise ValueError(
            f"video is {array.dtype}{list(array.shape)}; give uint8 (frames, rows, "
            "columns, 3)"
        )
    return array


def _keys(seed: Any, count: int | None) -> jax.Array:
    """A key, or one for each film: a film gets the noise that it gets alone."""
    seeds = seeds_from(seed, 1 if count is None else count, "films")
    if count is None:
        return jax.random.key(seeds[0])
    return jax.vmap(jax.random.key)(jnp.asarray(seeds))
