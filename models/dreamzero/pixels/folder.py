"""A released folder with all that DreamZero is made of."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from jax_stepcache.network.params import Params
from jax_stepcache.network.registry import load_model, load_params
from jax_stepcache.paths import as_path

from ...encoders.frozen import Tokenizer
from ...prompts import load_tokenizer
from ...wan_vae import Tiles
from ..model import DreamZeroModel
from ..robot.quantiles import mapping
from ..robot.statistics import METADATA, Statistics, load_statistics
from .canvas import PictureSizes, default_sizes
from .encoders import Encoders
from .views import get_views


class Loaded(NamedTuple):
    """What a pipeline is made of.

    Attributes:
        params: the transformer.
        statistics: the robot's quantiles.
        encoders: the networks around it.
        pictures: sizes on the way to them.
    """

    params: Params
    statistics: Statistics
    encoders: Encoders
    pictures: PictureSizes


def load_folder(
    folder: str | os.PathLike[str],
    embodiment: str,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    *,
    offload: bool | str | Sequence[str] = False,
    tiles: Tiles | None = None,
    **loading: Any,
) -> Loaded:
    """Loads a released folder: transformer, encoders, statistics.

    Args:
        folder: safetensors files with their index, ``config.json`` and
            ``experiment_cfg/metadata.json``.
        embodiment: the robot, such as ``"oxe_droid"``.
        tokenizer: the text encoder's, or where it lies (see `load_tokenizer`); in the
            folder unless given. Prompts that are too long for the model are refused.
        offload: what waits on the host, see `Encoders.offloaded`.
        tiles: how pictures are cut that do not fit, see `Encoders`.
        **loading: of `jax_stepcache.load_params`: ``dtype``, ``mesh``, ``rules``,
            ``layers``.

    Returns:
        The parts.

    Raises:
        FileNotFoundError: if files are missing, a tokenizer's among them.
        ImportError: without what reads a tokenizer, with what to install.
        ValueError: for an unknown embodiment, what is missing in the folder, or does
            not fit; see `load_params` and `load_statistics`.
    """
    get_views(embodiment)  # An unknown name should not wait for files.
    folder = as_path(folder)
    length = load_model(folder).dit.text_len
    if not callable(tokenizer):
        where = folder if tokenizer is None else tokenizer
        tokenizer = functools.partial(load_tokenizer(where, length), truncate=False)
    statistics = load_statistics(folder, embodiment)
    text, image, vae = (
        load_params(folder, part=part, **loading)
        for part in ("text_encoder", "image_encoder", "vae")
    )
    encoders = Encoders(tokenizer, text, image, vae, tiles).offloaded(offload)
    params = load_params(folder, **loading)
    model: Any = params.model
    file = folder / METADATA
    sizes = _sizes(encoders, model, json.loads(file.read_text()), statistics)
    return Loaded(params, statistics, encoders, sizes)


def _sizes(
    encoders: Encoders,
    model: DreamZeroModel,
    metadata: Mapping[str, Any],
    statistics: Statistics,
) -> PictureSizes:
    """Sizes for the model; its cameras' of the metadata, where it resizes frames."""
    sizes = default_sizes(encoders.vae_config.spatial_stride, model)
    entry = mapping(mapping(metadata).get(statistics.embodiment.name))
    cameras = mapping(mapping(entry.get("modalities")).get("video"))
    told = {tuple(mapping(camera).get("resolution", ())) for camera in cameras.values()}
    if sizes.camera is None or len(told) != 1 or len(first := told.pop()) != 2:
        return sizes
    width, height = first
    return replace(sizes, camera=(height, width))
