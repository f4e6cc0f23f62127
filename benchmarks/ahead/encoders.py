# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
"""The programs of the encoders around the robots' models, at their released sizes."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jax_stepcache.checkpoints.layers import taken_apart
from jax_stepcache.models.clip_vision import encoding as pictures
from jax_stepcache.models.dreamzero.pixels import programs
from jax_stepcache.models.dreamzero.pixels.canvas import PictureSizes, default_sizes
from jax_stepcache.models.dreamzero.pixels.windows import frames_at_first
from jax_stepcache.models.encoders.programs import film_of
from jax_stepcache.models.umt5 import encoding as prompts
from jax_stepcache.network.offered import in_dtype, offered
from jax_stepcache.network.registry import load_model

from .asks import Ask
from .device import placed
from .lowered import Lowered

# Whose robot sees by which VAE; and frames that it shows in the middle of a window.
_ROBOT = {"wan-vae-2.1": "droid-14b", "wan-vae-2.2": "wan22-5b"}
_SHOWN = 4


def encoder(ask: Ask, mesh: Any) -> Lowered:
    """Makes a program's function and arguments; nothing is allocated.

    Args:
        ask: which; its rows are prompts, or robots.
        mesh: one device.

    Returns:
        The program.
    """
    make = {"umt5-xxl": _prompts, "clip-vit-h-14": _features}.get(ask.model, _vae)
    function, arguments, depth = make(ask, mesh)
    is_alone = frozenset()
    return Lowered(function, arguments, depth, False, is_alone, is_alone, None, {}, 1)


def _prompts(ask: Ask, mesh: Any) -> tuple[Any, tuple[Any, ...], int]:
    config, weights = _part(ask, mesh)
    tokens = placed(mesh, np.zeros((ask.rows, 512), np.int32))
    return prompts._encode, (config, weights, tokens, tokens), config.num_layers


def _features(ask: Ask, mesh: Any) -> tuple[Any, tuple[Any, ...], int]:
    config, weights = _part(ask, mesh)
    shown = placed(mesh, np.zeros((ask.rows, *_sizes("wan-vae-2.1").encoded, 3), "f4"))
    return pictures._encode, (config, weights, shown), config.num_layers


def _vae(ask: Ask, mesh: Any) -> tuple[Any, tuple[Any, ...], int]:
    config, weights = _part(ask, mesh)
    sizes, robot = _sizes(ask.model), load_model(_ROBOT[ask.model])
    dit = robot.dit
    if ask.program == "decode":
        latents = (ask.rows, config.z_dim, dit.window, *robot.latent_size)
        film = placed(mesh, np.zeros(latents, np.float32))
        return film_of, (config, weights, film), 1
    count = 1 if ask.program == "begin" else _SHOWN
    canvases = placed(mesh, np.zeros((ask.rows, count, *sizes.canvas, 3), np.uint8))
    if ask.program == "encode":
        return programs.go_on, (config, sizes, weights, canvases), 1
    frames = frames_at_first(dit.window, dit.concat_first_frame_latent)
    return programs.begin_window, (config, sizes, frames, weights, canvases), 1


def _sizes(vae: str) -> PictureSizes:
    stride = load_model(vae).config.spatial_stride
    return default_sizes(stride, load_model(_ROBOT[vae]))


def _part(ask: Ask, mesh: Any) -> tuple[Any, Any]:
    """Configuration and weights, as `load_params` has them on a GPU."""
    model = in_dtype(load_model(ask.model), "bfloat16")
    structs = offered(model, "weights_struct")(model)
    weights = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), structs)
    if "blocks" in weights and ask.layers == "apart":
        weights = {**weights, "blocks": taken_apart(weights["blocks"])}
    return model.config, placed(mesh, weights)
