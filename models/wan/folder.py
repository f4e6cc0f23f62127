"""A released folder with all that Wan is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_model, load_params
from jax_stepcache.paths import as_path

from ..encoders.frozen import FrozenEncoders, Tokenizer, config_of
from ..prompts import load_tokenizer
from ..wan_vae import Tiles
from .checkpoint.folder import DIFFUSERS_EXPERTS, layout_of
from .checkpoint.scheduler import Scheduler
from .model import WanModel
from .offloading import Places, offloaded, parts_of
from .sizes import WanRelease


class Loaded(NamedTuple):
    """What a pipeline is made of.

    Attributes:
        params: the transformer, or both experts.
        encoders: the networks around it.
        scheduler: what the folder samples with.
        places: where experts go that wait on the host; None where none does.
    """

    params: Params
    encoders: FrozenEncoders
    scheduler: Scheduler
    places: Places | None


def load_folder(
    folder: str | os.PathLike[str],
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    *,
    offload: bool | str | Sequence[str] = False,
    tiles: Tiles | None = None,
    adapt: Callable[[Params], Params] | None = None,
    **loading: Any,
) -> Loaded:
    """Loads a released folder: transformers, encoders, what to sample with.

    Args:
        folder: of diffusers, or the original's with its pickles turned into safetensors
            in folders ``vae``, ``text_encoder`` and ``image_encoder``.
        tokenizer: the text encoder's, or where it lies (see `load_tokenizer`); in the
            folder unless given.
        offload: what waits on the host, see `parts_of`; of experts never more than one
            is on the devices, while they are loaded or later.
        tiles: how pictures are cut that do not fit, see `FrozenEncoders`.
        adapt: changes the transformers' weights once they are loaded, by a LoRA say; of
            experts that wait it is given one after the other.
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
    model = model_in(folder)
    parts, wait = parts_of(offload, model.release)
    if not callable(tokenizer):
        tokenizer = load_tokenizer(folder if tokenizer is None else tokenizer)
    looks = model.transformer.image_dim is not None
    names = ("text_encoder", "vae", *(("image_encoder",) if looks else ()))
    for name in names:  # Headers are read at once, and weights take long.
        load_model(folder, part=name)
    text, vae, *image = (load_params(folder, part=name, **loading) for name in names)
    found = FrozenEncoders(tokenizer, text, image[0] if image else None, vae, tiles)
    check_encoders(found, model.release)
    adapt = adapt or (lambda params: params)
    if wait:
        params, places = _one_by_one(folder, model, adapt, loading)
    else:
        params, places = adapt(load_params(folder, **loading)), None
    scheduler = scheduler_of(folder, model.release)
    return Loaded(params, found.offloaded(parts), scheduler, places)


def model_in(folder: Path) -> WanModel:
    """The model of a folder.

    Raises:
        ValueError: if it is none of Wan's; see `load_model`.
    """
    model = load_model(folder)
    if not isinstance(model, WanModel):
        raise ValueError(f"{folder} holds a {model.name}, not a Wan")
    return model


def _one_by_one(
    folder: Path,
    model: WanModel,
    adapt: Callable[[Params], Params],
    loading: Mapping[str, Any],
) -> tuple[Params, Places]:
    """Loads experts, each to the devices, to be placed there, and then to the host."""
    weights: dict[str, Any] = {}
    shardings: dict[str, Any] = {}
    names, layout = model.release.experts, layout_of(folder)
    # The original has other names for the folders of both.
    found = {} if layout is None else layout.transformers
    parts = {
        name: (found.get(name, folder), part)
        for name, part in zip(names, DIFFUSERS_EXPERTS, strict=True)
    }
    for path, part in parts.values():
        load_model(path, part=part)  # Headers first: the other takes long.
    for name, (path, part) in parts.items():
        one: Any = load_params(path, part=part, **loading)
        release = replace(model.release, transformer=one.model.transformer)
        model = replace(model, release=release, layout=one.model.layout)
        own, places = offloaded(adapt(Params({name: one.weights}, model)))
        weights |= own.weights
        shardings |= places.shardings
        del one
    return Params(weights, model), Places(shardings)


def check_encoders(encoders: FrozenEncoders, release: WanRelease) -> None:
    """Checks that what the encoders make is what the transformer takes.

    Raises:
        TypeError: if they are none, or one is missing.
        ValueError: if something is wider or narrower.
    """
    if not isinstance(encoders, FrozenEncoders):
        raise TypeError(f"encoders are {type(encoders).__name__}; give FrozenEncoders")
    c, vae = release.transformer, encoders.vae_config
    wanted: Mapping[str, tuple[Any, Any]] = {
        "the VAE's channels": (vae.z_dim, c.out_channels),
        "the text encoder's width": (config_of(encoders.text).dim, c.text_dim),
        "the VAE's frames, rows and columns of a latent": (
            (vae.temporal_stride, vae.spatial_stride, vae.spatial_stride),
            release.stride,
        ),
    }
    if c.image_dim is not None:
        if encoders.image is None:
            raise TypeError(
                "encoders.image is None; this Wan looks at features of CLIP"
            )
        image = config_of(encoders.image)
        wanted = {**wanted, "the image encoder's width": (image.dim, c.image_dim)}
        if c.pos_embed_seq_len is not None:
            tokens = 2 * image.tokens
            wanted["the image encoder's tokens"] = (tokens, c.pos_embed_seq_len)
    for what, (given, taken) in wanted.items():
        if given != taken:
            raise ValueError(f"{what}: {given}; the transformer takes {taken}")


def scheduler_of(folder: Path, release: WanRelease) -> Scheduler:
    """What a folder samples with, or else what the original does.

    Args:
        folder: see `load_folder`.
        release: whose shift it is where the folder says nothing.

    Returns:
        The scheduler.
    """
    layout = layout_of(folder)
    found = None if layout is None else layout.scheduler
    return found or Scheduler("unipc", "original", release.shift)
