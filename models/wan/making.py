"""Films on disk from a folder and prompts, for ``jax-stepcache film``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path, numbered
from jax_stepcache.pipeline import sampler_with

from ..films import check_film
from .checkpoint.scheduler import Scheduler
from .configuration import weights_struct
from .film import WanFilm
from .folder import model_in, scheduler_of
from .many import check_together, turns_of_prompts
from .model import WanModel
from .offloading import parts_of
from .pipeline import WanPipeline
from .planning import plan

# Options of loading that a pipeline's sampler is made with.
_CACHE = ("cache_backend", "cache_config")


def make_films(
    folder: str | os.PathLike[str],
    prompt: str | Sequence[str],
    out: str | os.PathLike[str],
    *,
    loading: Mapping[str, Any] | None = None,
    fps: float | None = None,
    **options: Any,
) -> dict[Path, WanFilm]:
    """Loads a pipeline, makes films and writes them.

    Args:
        folder: see `WanPipeline.from_folder`.
        prompt: what is to be seen; several make a film each.
        out: the file, ``.mp4`` or ``.gif``; of several films, with ``-0``, ``-1`` and
            so on before its ending. It is looked at before anything is loaded.
        loading: options of `WanPipeline.from_folder`.
        fps: frames a second; the release's unless given.
        **options: of `WanPipeline`'s call.

    Returns:
        The films, by the files that hold them.

    Raises:
        FileNotFoundError: if there is no folder for the film; as `load_folder`.
        ImportError: without imageio; as `load_folder`.
        ValueError: as `WanPipeline`.
    """
    check_film(out, fps)
    folder = as_path(folder, "folder")
    # What does not fit is told before weights are read: they take long.
    model, loading = model_in(folder), dict(loading or {})
    _check(model, scheduler_of(folder, model.release), prompt, loading, options)
    made = WanPipeline.from_folder(folder, **loading)(prompt, **options)
    films = [made] if isinstance(made, WanFilm) else made
    written = dict(zip(numbered(out, len(films)), films, strict=True))
    for path, film in written.items():
        film.save(path, fps)
    return written


def _check(
    model: WanModel,
    scheduler: Scheduler,
    prompt: Any,
    loading: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Checks what a pipeline is going to be called with."""
    told = {name: loading[name] for name in _CACHE if name in loading}
    structs = Params(weights_struct(model), model)
    with sampler_with(structs, **told) as sampler:
        if options.get("slots") is None:
            given = {name: x for name, x in options.items() if name != "slots"}
            plan(structs, sampler, scheduler, prompt, **given)
            return
        check_together(parts_of(loading.get("offload", False), model.release)[1])
        turns_of_prompts(structs, sampler, scheduler, prompt, **options)
