"""What pictures are asked with, checked, and completed by the release."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_numbers, static_count
from jax_stepcache.errors import brief, warn
from jax_stepcache.solvers.named_schedules import get_schedule
from jax_stepcache.solvers.schedule import Schedule, is_schedule
from jax_stepcache.solvers.strength import begun_at

from ..pictures import as_picture
from ..prompts.texts import texts
from ..seeds import seeds_from
from .model import FluxModel, model_of
from .sizes import FluxRelease

_STRENGTH = 0.6

# How many times the release's pixels a picture that is changed may have by itself: of
# 1024 x 1024 two megapixels, up to which FLUX was trained.
_LARGER = 2


@dataclass(frozen=True, eq=False)
class Asked:
    """Pictures to be made.

    Attributes:
        model: the transformer, of the pictures' size.
        prompts: one for each picture.
        prompts_2: likewise, for T5.
        negatives: likewise, or None without true guidance.
        image: uint8 (H, W, 3) that is changed, or None.
        guidance: what the network is told; None where it is told none.
        scale: of true guidance; 1 without.
        schedule: the noise levels, from where the pictures begin.
        seeds: of each picture.
    """

    model: FluxModel
    prompts: tuple[str, ...]
    prompts_2: tuple[str, ...]
    negatives: tuple[str, ...] | None
    image: np.ndarray | None
    guidance: float | None
    scale: float
    schedule: Any
    seeds: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the pictures, in pixels."""
        rows, cols = self.model.latent_size
        return rows * self.model.release.stride, cols * self.model.release.stride

    @property
    def keys(self) -> jax.Array:
        """A key for each picture, so that each has the noise that it has alone."""
        return jax.vmap(jax.random.key)(jnp.asarray(self.seeds))

    def structs(self, rows: int) -> dict[str, Any]:
        """Shapes of what the transformer will be shown."""
        key = jax.random.key(0)
        shown = dict(jax.eval_shape(lambda k: self.model.example(k, rows), key))
        if self.negatives is None:
            shown = {n: x for n, x in shown.items() if not n.startswith("negative")}
        if self.guidance is not None:
            shown["guidance"] = jax.ShapeDtypeStruct((rows,), jnp.float32)
        return shown


def ask(
    release: FluxRelease,
    prompt: Any,
    *,
    prompt_2: Any = None,
    negative_prompt: Any = None,
    true_cfg_scale: float = 1.0,
    guidance_scale: float | None = None,
    image: Any = None,
    strength: float | None = None,
    height: int | None = None,
    width: int | None = None,
    num_images: int = 1,
    num_inference_steps: int | None = None,
    schedule: Any = None,
    seed: int = 0,
) -> Asked:
    """Checks what pictures are asked with; see `FluxPipeline`."""
    given = texts(prompt, "prompt")
    count = static_count("num_images", num_images, 1)
    check_numbers("true_cfg_scale", true_cfg_scale)
    if guidance_scale is not None:
        check_numbers("guidance_scale", guidance_scale)
        if not release.transformer.guidance_embeds and guidance_scale:
            raise ValueError(
                f"guidance_scale is {guidance_scale}, and this FLUX is told none; "
                "leave it out. true_cfg_scale with a negative_prompt leads away from "
                "words"
            )
    seen = None if image is None else as_picture(image)
    if seen is None and strength is not None:
        raise ValueError("strength is how much of a picture is changed: give image=")
    model = model_of(release, _size(release, height, width, seen))
    levels = _levels(model, num_inference_steps, schedule)
    if seen is not None:
        levels = _begun(levels, _STRENGTH if strength is None else strength)
    scale = float(true_cfg_scale) if negative_prompt is not None else 1.0
    if negative_prompt is None and true_cfg_scale > 1:
        raise ValueError(
            f"true_cfg_scale is {true_cfg_scale}, and there is no negative_prompt to "
            "lead away from"
        )
    if negative_prompt is not None and scale <= 1:
        warn(
            f"negative_prompt is not looked at: true_cfg_scale is {true_cfg_scale}, "
            "and only above 1 is there a guidance away from it"
        )
    told = release.guidance_scale if guidance_scale is None else guidance_scale
    return Asked(
        model,
        _times(given, count),
        _times(
            given if prompt_2 is None else texts(prompt_2, "prompt_2", len(given)),
            count,
        ),
        _times(texts(negative_prompt, "negative_prompt", len(given)), count)
        if scale > 1
        else None,
        seen,
        float(told) if release.transformer.guidance_embeds else None,
        max(scale, 1.0),
        levels,
        seeds_from(seed, len(given) * count, "pictures"),
    )


ASKED = tuple(
    name
    for name, one in inspect.signature(ask).parameters.items()
    if one.kind is one.KEYWORD_ONLY
)
"""The names of what `ask` may be told besides a prompt."""


def _times(given: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Each text so many times, in a row."""
    return tuple(text for text in given for _ in range(count))


def _size(
    release: FluxRelease, height: Any, width: Any, picture: np.ndarray | None
) -> tuple[int, int]:
    if (height is None) != (width is None):
        raise ValueError(f"give height and width, or neither; got {height} and {width}")
    if height is not None:
        return height, width
    if picture is None:
        return release.size
    # The picture's own, as far as whole tokens go, and the network does.
    step, have = 2 * release.stride, picture.shape[:2]
    scale = min(1.0, math.sqrt(_LARGER * math.prod(release.size) / math.prod(have)))
    rows, cols = (max(step, int(x * scale) // step * step) for x in have)
    return rows, cols


def _levels(model: FluxModel, given: int | None, schedule: Any) -> Any:
    steps = model.release.num_inference_steps if given is None else given
    if schedule is not None:
        if isinstance(schedule, str):
            return get_schedule(schedule, steps)
        if given is not None:
            raise ValueError(
                "schedule and num_inference_steps are given; leave one out"
            )
        return schedule
    return model.schedule(steps)


def _begun(levels: Any, strength: float) -> Schedule:
    """The last steps, as many as diffusers counts: begun ones are whole."""
    if not isinstance(levels, Schedule):
        if is_schedule(levels):
            raise ValueError("a picture begins inside a schedule, and this is a table")
        raise ValueError(
            f"schedule is {brief(levels)}; with image= give a Schedule, or the name of "
            "one"
        )
    check_numbers("strength", strength, above=0, most=1)
    count = levels.num_steps
    steps = count - int(max(count - count * strength, 0))
    return begun_at(levels, min((steps + 0.5) / count, 1.0))


def with_size(model: FluxModel, asked: Asked) -> FluxModel:
    """The model, of the pictures' size."""
    return replace(model, latent_size=asked.model.latent_size)
