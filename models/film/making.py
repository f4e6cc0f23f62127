"""A film on disk from a prompt, for ``jax-stepcache film``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jax_stepcache.errors import unknown_name
from jax_stepcache.network.registry import load_params
from jax_stepcache.sampling import sample

from ..films import check_film
from ..wan.film import WanFilm
from .words import encode

# Of what `jax-stepcache film` hands over, what has a meaning for films of words alone,
# of one size, in pixels.
_SAMPLED = (
    "num_inference_steps",
    "solver",
    "shift",
    "schedule",
    "guidance_scale",
    "cache",
    "cache_config",
    "budget",
    "forecast",
    "progress",
)
_LOADED = ("dtype",)
_PIXELS = 8  # on the screen, for each of the film's


def make_film(
    source: str | os.PathLike[str],
    prompt: str,
    out: str | os.PathLike[str],
    *,
    loading: Mapping[str, Any] | None = None,
    fps: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    **options: Any,
) -> WanFilm:
    """Samples a film and writes it, enlarged.

    Args:
        source: see `load_params`.
        prompt: see `encode`.
        out: the film's file, ``.mp4`` or ``.gif``; looked at before anything is loaded.
        loading: options of `load_params`.
        fps: frames a second; the model's unless given.
        negative_prompt: words to stay away from.
        seed: of the noise.
        **options: of `sample`.

    Returns:
        The film.

    Raises:
        FileNotFoundError: if there is no folder for the film.
        ImportError: without imageio.
        ValueError: for an option that has no meaning here; as `encode` and `sample`.
    """
    check_film(out)
    for given, known in ((loading or {}, _LOADED), (options, _SAMPLED)):
        for name in given:
            if name not in known:
                raise ValueError(unknown_name("option of this film", name, known))
    shown = encode(prompt)
    negative = encode(negative_prompt)["text"]
    params = load_params(source, **(loading or {}))
    result = sample(
        params,
        observation={**shown, "negative_text": negative},
        key=jax.random.key(seed),
        **options,
    )
    video = np.asarray(params.model.decode(result.sample)["video"])[0]
    frames = np.round(video * 255).astype(np.uint8)
    large = frames.repeat(_PIXELS, axis=1).repeat(_PIXELS, axis=2)
    usual = params.model.release.fps
    film = WanFilm(large, result.stats, result.sample[0], usual)
    film.save(out, fps)
    return film
