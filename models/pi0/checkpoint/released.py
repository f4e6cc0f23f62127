"""openpi's checkpoints: which folder, which sizes, which arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.orbax_arrays import METADATA, OrbaxArrays
from jax_stepcache.checkpoints.shards import TensorHeader
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.paths import as_path

from ...checkpoints.released import activations
from ..model import Pi0Model
from ..network.config import GemmaConfig, Pi0Config, VisionConfig
from ..network.published import CONFIGS
from .name_map import plan

PARAMS = "params"
"""Where a released folder has the weights."""

SETTINGS = "pi0.json"
"""A file that may lie beside them, with what shapes do not tell."""

ASSETS = "assets"
"""Where it has what belongs to robots, a folder for each."""

_TELLING = "PaliGemma/llm/layers/attn/q_einsum_1/w"
_UNTOLD = ("action_horizon", "max_token_len", "image_size")


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint of openpi, if it is one.

    Neither the number of actions of a chunk nor that of a prompt's tokens shows in the
    weights. A file ``pi0.json`` beside ``params`` says ``{"action_horizon": 10,
    "max_token_len": 48}``; without it they are those of the release for the robot that
    ``assets`` has a folder of, such as ``droid``, and else the base's.

    Args:
        path: a released folder, with ``params`` in it, or that.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        ValueError: if it is cut short, or if the sizes are unknown or impossible.
    """
    path = as_path(path)
    inside = path / PARAMS if (path / PARAMS / METADATA).is_file() else path
    if not (inside / METADATA).is_file():
        return None
    arrays = OrbaxArrays(inside)
    if _TELLING not in arrays.headers:
        return None
    try:
        config = config_of_arrays(arrays.headers, untold(inside.parent, arrays))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        said = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} has weights of a pi0, whose sizes cannot be told: {said}"
        ) from error
    return StreamedCheckpoint(Pi0Model(config), arrays, plan(config))


def untold(folder: Path, arrays: OrbaxArrays) -> dict[str, Any]:
    """What shapes do not tell, by the names of `Pi0Config`'s fields.

    Args:
        folder: that has the weights' folder in it.
        arrays: the weights.

    Returns:
        ``action_horizon``, ``max_token_len`` and perhaps ``image_size``.

    Raises:
        ValueError: if ``pi0.json`` is no JSON, or says something else.
    """
    kind = "pi05" if "time_mlp_in/kernel" in arrays.headers else "pi0"
    release = CONFIGS[f"{kind}-{_robot(folder)}"]
    found = {name: getattr(release, name) for name in _UNTOLD[:2]}
    file = folder / SETTINGS
    if not file.is_file():
        return found
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(said, dict) or not said.keys() <= set(_UNTOLD):
        raise ValueError(f"{file} says {said!r:.80}; it may say {list(_UNTOLD)}")
    return found | said


def _robot(folder: Path) -> str:
    assets = folder / ASSETS
    names = {one.name for one in assets.rglob("*")} if assets.is_dir() else set()
    return next((name for name in ("droid", "libero") if name in names), "base")


def config_of_arrays(
    headers: Mapping[str, TensorHeader], rest: Mapping[str, Any]
) -> Pi0Config:
    """The sizes that the arrays' shapes tell.

    Args:
        headers: by openpi's names.
        rest: what they do not tell.

    Returns:
        The configuration.

    Raises:
        KeyError: if an array is not there.
        ValueError: if sizes do not fit.
    """

    def shape(name: str) -> tuple[int, ...]:
        return headers[name].shape

    image, llm = "PaliGemma/img", "PaliGemma/llm"
    block = f"{image}/Transformer/encoderblock"
    depth, width, heads, _ = shape(
        f"{block}/MultiHeadDotProductAttention_0/query/kernel"
    )
    patch = shape(f"{image}/embedding/kernel")[0]
    tokens = shape(f"{image}/pos_embedding")[1]
    vision = VisionConfig(
        width, depth, shape(f"{block}/MlpBlock_0/Dense_0/kernel")[2], heads, patch
    )

    def gemma(which: str) -> GemmaConfig:
        layers = f"{llm}/layers"
        depth, heads, width, dim = shape(f"{layers}/attn/q_einsum{which}/w")
        few = shape(f"{layers}/attn/kv_einsum{which}/w")[2]
        wide = shape(f"{layers}/mlp{which}/gating_einsum")[3]
        return GemmaConfig(width, depth, wide, heads, few, dim)

    sizes: dict[str, Any] = {
        "pi05": "time_mlp_in/kernel" in headers,
        "vision": vision,
        "gemma": gemma(""),
        "expert": gemma("_1"),
        "vocab": shape(f"{llm}/embedder/input_embedding")[0],
        "image_size": math.isqrt(tokens) * patch,
        "action_dim": shape("action_in_proj/kernel")[0],
        "dtype": activations(headers.values()),
    }
    assert {*sizes, *rest} <= {one.name for one in fields(Pi0Config)}
    return Pi0Config(**{**sizes, **rest})
