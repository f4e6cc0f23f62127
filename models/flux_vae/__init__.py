"""FLUX's autoencoder of pictures, of any size: `encode` and `decode`."""

from .checkpoint.name_map import import_state_dict, state_dict_shapes
from .checkpoint.released import open_checkpoint, open_part
from .coding import as_pixels, decode, encode
from .describe import describe
from .model import (
    FluxVAEModel,
    axis_sizes,
    config_of,
    model_from_config,
    named_model,
    weights_struct,
    with_dtype,
)
from .network.coders import FluxVAE
from .network.config import CONFIGS, FluxVAEConfig
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes

__all__ = [
    "CONFIGS",
    "FluxVAE",
    "FluxVAEConfig",
    "FluxVAEModel",
    "as_pixels",
    "axis_sizes",
    "bind",
    "config_of",
    "decode",
    "describe",
    "encode",
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
