"""A released folder with all that FLUX is made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_model, load_params
from jax_stepcache.paths import as_path

from ..checkpoints.lora import check_lora, merge_lora
from ..prompts import load_clip_tokenizer, load_tokenizer
from .encoders import FluxEncoders, check_encoders
from .model import FluxModel

_PARTS = {"clip": "text_encoder", "t5": "text_encoder_2", "vae": "vae"}


class Loaded(NamedTuple):
    """What a pipeline is made of.

    Attributes:
        params: the transformer.
        encoders: the networks around it.
    """

    params: Params
    encoders: FluxEncoders


def load_folder(
    folder: str | os.PathLike[str],
    *,
    transformer: str | os.PathLike[str] | None = None,
    lora: str | os.PathLike[str] | None = None,
    lora_scale: float = 1.0,
    **loading: Any,
) -> Loaded:
    """Loads a released folder: transformer, encoders, tokenizers.

    Args:
        folder: of diffusers.
        transformer: another file or folder for the transformer, such as the original's
            single file.
        lora: a file that is merged into the transformer.
        lora_scale: how much of it.
        **loading: of `jax_stepcache.load_params`: ``dtype``, ``mesh``, ``rules``,
            ``layers``.

    Returns:
        The parts.

    Raises:
        FileNotFoundError: if files are missing, a tokenizer's among them.
        ImportError: without what reads a tokenizer, with what to install.
        ValueError: for what is missing in the folder, or does not fit; see
            `load_params`.
    """
    folder = as_path(folder, "folder")
    where = folder if transformer is None else as_path(transformer, "transformer")
    model = model_in(where)
    if lora is not None:  # Headers are read at once, and weights take long.
        check_lora(Params({}, model), lora, scale=lora_scale)
    clip = load_clip_tokenizer(folder / "tokenizer")
    length = model.release.text_len
    t5 = load_tokenizer(folder / "tokenizer_2", length, cleans=False)
    for part in _PARTS.values():
        load_model(folder, part=part)
    parts = {
        name: load_params(folder, part=part, **loading) for name, part in _PARTS.items()
    }
    found = FluxEncoders(clip, parts["clip"], t5, parts["t5"], parts["vae"])
    check_encoders(found, model.release)
    params = load_params(where, **loading)
    if lora is not None:
        params = merge_lora(params, lora, scale=lora_scale, consume=True)
    return Loaded(params, found)


def model_in(path: Path) -> FluxModel:
    """The model of a folder or a file.

    Raises:
        ValueError: if it is none of FLUX's; see `load_model`.
    """
    model = load_model(path)
    if not isinstance(model, FluxModel):
        raise ValueError(f"{path} holds a {model.name}, not a FLUX")
    return model
