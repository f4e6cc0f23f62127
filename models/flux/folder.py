"""A released folder with all that FLUX is made of."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_model, load_params
from jax_stepcache.paths import as_path

from ..checkpoints.lora import check_lora, merge_lora
from ..encoders.waiting import parts_of, taken_away
from ..prompts import load_clip_tokenizer, load_tokenizer
from .encoders import FluxEncoders, check_encoders
from .model import FluxModel

OFFLOADED = ("text_encoder", "transformer")
"""What may wait on the host: CLIP and T5, and what makes the pictures."""

_PARTS = ("text_encoder", "text_encoder_2", "vae")


class Loaded(NamedTuple):
    """What a pipeline is made of.

    Attributes:
        params: the transformer.
        encoders: the networks around it.
        place: where the transformer goes that waits on the host; None if it does not.
    """

    params: Params
    encoders: FluxEncoders
    place: Any = None


def load_folder(
    folder: str | os.PathLike[str],
    *,
    transformer: str | os.PathLike[str] | None = None,
    lora: str | os.PathLike[str] | None = None,
    lora_scale: float = 1.0,
    offload: bool | str | Iterable[str] = False,
    **loading: Any,
) -> Loaded:
    """Loads a released folder: transformer, encoders, tokenizers.

    Args:
        folder: of diffusers.
        transformer: another file or folder for the transformer, such as the original's
            single file.
        lora: a file that is merged into the transformer.
        lora_scale: how much of it.
        offload: what waits on the host, names in `OFFLOADED`, one or several; True for
            the encoders of text.
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
    waits = parts_of(offload, OFFLOADED, ("text_encoder",))
    if lora is not None:  # Headers are read at once, and weights take long.
        check_lora(Params({}, model), lora, scale=lora_scale)
    clip = load_clip_tokenizer(folder / "tokenizer")
    length = model.release.text_len
    t5 = load_tokenizer(folder / "tokenizer_2", length, cleans=False)
    for part in _PARTS:
        load_model(folder, part=part)
    loaded = (load_params(folder, part=part, **loading) for part in _PARTS)
    found = FluxEncoders(clip, next(loaded), t5, next(loaded), next(loaded))
    check_encoders(found, model.release)
    if "text_encoder" in waits:
        found = found.offloaded()
    params = load_params(where, **loading)
    if lora is not None:
        params = merge_lora(params, lora, scale=lora_scale, consume=True)
    if "transformer" not in waits:
        return Loaded(params, found)
    weights, place = taken_away(params.weights)
    return Loaded(Params(weights, params.model), found, place)


def model_in(path: Path) -> FluxModel:
    """The model of a folder or a file.

    Raises:
        ValueError: if it is none of FLUX's; see `load_model`.
    """
    model = load_model(path)
    if not isinstance(model, FluxModel):
        raise ValueError(f"{path} holds a {model.name}, not a FLUX")
    return model
