"""Wan's VAEs, between videos and the latents that Wan and DreamZero denoise.

`encode` and `decode` take a whole video, `encode_piece` and `decode_piece` go on with a
stream, `encode_tiled` and `decode_tiled` are for pictures that do not fit.
"""

from .checkpoint.name_map import import_state_dict, state_dict_shapes
from .checkpoint.released import open_checkpoint, open_part
from .describe import describe
from .model import (
    WanVAEModel,
    axis_sizes,
    config_of,
    model_from_config,
    named_model,
    weights_struct,
    with_dtype,
)
from .network.config import WanVAEConfig
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.published import CONFIGS
from .network.vae import State, WanVAE
from .streams import (
    decode,
    decode_piece,
    encode,
    encode_piece,
    fresh_decoder,
    fresh_encoder,
)
from .tiles import Tiles, decode_tiled, encode_tiled

__all__ = [
    "CONFIGS",
    "State",
    "Tiles",
    "WanVAE",
    "WanVAEConfig",
    "WanVAEModel",
    "axis_sizes",
    "bind",
    "config_of",
    "decode",
    "decode_piece",
    "decode_tiled",
    "describe",
    "encode",
    "encode_piece",
    "encode_tiled",
    "fresh_decoder",
    "fresh_encoder",
    "import_state_dict",
    "init_weights",
    "model_from_config",
    "named_model",
    "open_checkpoint",
    "open_part",
    "state_dict_shapes",
    "weight_axes",
    "weight_shapes",
    "weights_struct",
    "with_dtype",
]
