"""Pictures on disk from a folder and a prompt, for ``jax-stepcache picture``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path, numbered
from jax_stepcache.pipeline import sampler_with

from .folder import model_in
from .model import weights_struct
from .pictures import FluxPicture, check_picture
from .pipeline import FluxPipeline
from .planning import plan

# Options of loading that a pipeline's sampler is made with.
_CACHE = ("cache_backend", "cache_config")


def make_pictures(
    folder: str | os.PathLike[str],
    prompt: str,
    out: str | os.PathLike[str],
    *,
    loading: Mapping[str, Any] | None = None,
    **options: Any,
) -> dict[Path, FluxPicture]:
    """Loads a pipeline, makes pictures and writes them.

    Args:
        folder: see `FluxPipeline.from_folder`.
        prompt: what is to be seen.
        out: the file; of several pictures, with ``-0``, ``-1`` and so on before its
            ending. It is looked at before anything is loaded.
        loading: options of `FluxPipeline.from_folder`.
        **options: of `FluxPipeline`'s call.

    Returns:
        The pictures, by the files that hold them.

    Raises:
        FileNotFoundError: if there is no folder for them; as `load_folder`.
        ImportError: without Pillow; as `load_folder`.
        ValueError: as `FluxPipeline`.
    """
    check_picture(out)
    folder, loading = as_path(folder, "folder"), dict(loading or {})
    # What does not fit is told before weights are read: they take long.
    model = model_in(as_path(loading.get("transformer") or folder))
    told = {name: loading[name] for name in _CACHE if name in loading}
    structs = Params(weights_struct(model), model)
    with sampler_with(structs, **told) as sampler:
        plan(structs, sampler, prompt, **options)
    made = FluxPipeline.from_folder(folder, **loading)(prompt, **options)
    pictures = [made] if isinstance(made, FluxPicture) else made
    written = dict(zip(numbered(out, len(pictures)), pictures, strict=True))
    for path, picture in written.items():
        picture.save(path)
    return written
