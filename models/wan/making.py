"""A film on disk from a folder and a prompt, for ``jax-stepcache film``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from jax_stepcache.network.registry import load_model
from jax_stepcache.paths import as_path

from ..films import check_film
from .asking import ASKED, ask
from .film import WanFilm
from .folder import scheduler_of
from .pipeline import WanPipeline


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
    model: Any = load_model(folder)
    # What does not fit is told before weights are read.
    known = {name: value for name, value in options.items() if name in ASKED}
    ask(model.release, scheduler_of(folder, model.release), prompt, **known)
    film = WanPipeline.from_folder(folder, **(loading or {}))(prompt, **options)
    film.save(out, fps)
    return film
