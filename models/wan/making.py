"""A film on disk from a folder and a prompt, for ``jax-stepcache film``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path
from jax_stepcache.pipeline import sampler_with

from ..films import check_film
from .configuration import weights_struct
from .film import WanFilm
from .folder import model_in, scheduler_of
from .pipeline import WanPipeline
from .planning import plan

# Options of loading that a pipeline's sampler is made with.
_CACHE = ("cache_backend", "cache_config")


def make_film(
    folder: str | os.PathLike[str],
    prompt: str,
    out: str | os.PathLike[str],
    *,
    loading: Mapping[str, Any] | None = None,
    fps: float | None = None,
    **options: Any,
) -> WanFilm:
    """Loads a pipeline, makes a film and writes it.

    Args:
        folder: see `WanPipeline.from_folder`.
        prompt: what is to be seen.
        out: the film's file, ``.mp4`` or ``.gif``; looked at before anything is loaded.
        loading: options of `WanPipeline.from_folder`.
        fps: frames a second; the release's unless given.
        **options: of `WanPipeline`'s call.

    Returns:
        The film.

    Raises:
        FileNotFoundError: if there is no folder for the film; as `load_folder`.
        ImportError: without imageio; as `load_folder`.
        ValueError: as `WanPipeline`.
    """
    check_film(out)
    folder = as_path(folder, "folder")
    # What does not fit is told before weights are read: they take long.
    model, loading = model_in(folder), dict(loading or {})
    told = {name: loading[name] for name in _CACHE if name in loading}
    structs = Params(weights_struct(model), model)
    with sampler_with(structs, **told) as sampler:
        plan(structs, sampler, scheduler_of(folder, model.release), prompt, **options)
    film = WanPipeline.from_folder(folder, **loading)(prompt, **options)
    film.save(out, fps)
    return film
