"""CLIP's image encoder, which Wan and DreamZero look at pictures with, at any size.

`encode` makes of pictures the penultimate features that a diffusion transformer sees.
"""

from .checkpoint.name_map import import_state_dict, state_dict_shapes
from .checkpoint.released import open_checkpoint, open_part
from .describe import describe
from .encoding import encode
from .model import (
    CLIPVisionModel,
    axis_sizes,
    config_of,
    model_from_config,
    named_model,
    weights_struct,
    with_dtype,
)
from .network.config import CLIPVisionConfig
from .network.encoder import CLIPVision
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.published import CONFIGS

__all__ = [
    "CONFIGS",
    "CLIPVision",
    "CLIPVisionConfig",
    "CLIPVisionModel",
    "axis_sizes",
    "bind",
    "config_of",
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
