"""A released folder with all that Wan is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_model, load_params
from jax_stepcache.paths import as_path

from ..encoders.frozen import FrozenEncoders, Tokenizer, config_of
from ..prompts import load_tokenizer
from ..wan_vae import Tiles
from .checkpoint.folder import layout_of
from .checkpoint.scheduler import Scheduler
from .model import WanModel
from .sizes import WanRelease


class Loaded(NamedTuple):
    """What a pipeline is made of.

    Attributes:
        params: the transformer, or both experts.
        encoders: the networks around it.
        scheduler: what the folder samples with.
    """

    params: Params
    encoders: FrozenEncoders
    scheduler: Scheduler


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
        offload: what waits on the host, see `FrozenEncoders.offloaded`.
        tiles: how pictures are cut that do not fit, see `FrozenEncoders`.
        adapt: changes the transformers' weights once they are loaded, by a LoRA say.
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
    model = load_model(folder)
    if not isinstance(model, WanModel):
        raise ValueError(f"{folder} holds a {model.name}, not a Wan")
    if not callable(tokenizer):
        tokenizer = load_tokenizer(folder if tokenizer is None else tokenizer)
    looks = model.transformer.image_dim is not None
    names = ("text_encoder", "vae", *(("image_encoder",) if looks else ()))
    for name in names:  # Headers are read at once, and weights take long.
        load_model(folder, part=name)
    text, vae, *image = (load_params(folder, part=name, **loading) for name in names)
    found = FrozenEncoders(tokenizer, text, image[0] if image else None, vae, tiles)
    check_encoders(found, model.release)
    params = load_params(folder, **loading)
    if adapt is not None:
        params = adapt(params)
    return Loaded(params, found.offloaded(offload), scheduler_of(folder, model.release))


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


def scheduler_of(folder: str | os.PathLike[str], release: WanRelease) -> Scheduler:
    """What a folder samples with, or else what the original does.

    Args:
        folder: see `load_folder`.
        release: whose shift it is where the folder says nothing.

    Returns:
        The scheduler.
    """
    layout = layout_of(as_path(folder, "folder"))
    found = None if layout is None else layout.scheduler
    return found or Scheduler("unipc", "original", release.shift)
