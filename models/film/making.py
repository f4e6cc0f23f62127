"""Films on disk from prompts, for ``jax-stepcache film``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.errors import unknown_name
from jax_stepcache.network.registry import load_params
from jax_stepcache.options import Request
from jax_stepcache.paths import numbered
from jax_stepcache.requests.many import sample_many
from jax_stepcache.sampling import sample

from ..films import check_film
from ..seeds import seeds_from
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
    "guidance_interval",
    "cache",
    "cache_config",
    "budget",
    "forecast",
)
_LOADED = ("dtype",)
_PIXELS = 8  # on the screen, for each of the film's


def make_films(
    source: str | os.PathLike[str],
    prompt: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    loading: Mapping[str, Any] | None = None,
    fps: float | None = None,
    negative_prompt: str = "",
    seed: int = 0,
    slots: int | None = None,
    progress: Any = False,
    **options: Any,
) -> dict[Path, WanFilm]:
    """Samples films and writes them, enlarged.

    Args:
        source: see `load_params`.
        prompt: see `encode`; several make a film each.
        out: the file, ``.mp4`` or ``.gif``; of several films, with ``-0``, ``-1`` and
            so on before its ending. It is looked at before anything is loaded.
        loading: options of `load_params`.
        fps: frames a second; the model's unless given.
        negative_prompt: words to stay away from.
        seed: of the noise; the second film's is one more, and so on.
        slots: so many are made side by side, each with decisions of its own; all are
            one batch unless given.
        progress: of `sample`.
        **options: likewise.

    Returns:
        The films, by the files that hold them.

    Raises:
        FileNotFoundError: if there is no folder for the film.
        ImportError: without imageio.
        ValueError: for an option that has no meaning here; as `encode` and `sample`;
            for a seed that no key takes.
    """
    check_film(out, fps)
    for given, known in ((loading or {}, _LOADED), (options, _SAMPLED)):
        for name in given:
            if name not in known:
                raise ValueError(unknown_name("option of this film", name, known))
    text = encode(prompt)["text"]
    negative = encode(negative_prompt)["text"].repeat(len(text), axis=0)
    shown = {"text": text, "negative_text": negative}
    seeds = seeds_from(seed, len(text), "films")
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
    params = load_params(source, **(loading or {}))
    if slots is None:
        result = sample(
            params, observation=shown, key=keys, progress=progress, **options
        )
        samples, stats = result.sample, [result.stats] * len(text)
    else:
        requests = [
            Request(
                observation={name: x[i : i + 1] for name, x in shown.items()},
                key=keys[i],
            )
            for i in range(len(text))
        ]
        results = sample_many(params, requests, slots=slots, **options)
        samples = jnp.concatenate([one.sample for one in results])
        stats = [one.stats for one in results]
    video = np.asarray(params.model.decode(samples)["video"])
    frames = np.round(video * 255).astype(np.uint8)
    large = frames.repeat(_PIXELS, axis=2).repeat(_PIXELS, axis=3)
    usual = params.model.release.fps
    films = [
        WanFilm(own, said, one, usual)
        for own, said, one in zip(large, stats, samples, strict=True)
    ]
    written = dict(zip(numbered(out, len(films)), films, strict=True))
    for path, film in written.items():
        film.save(path, fps)
    return written
