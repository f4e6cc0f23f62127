"""CLIP's text encoder, which FLUX reads prompts with beside T5's, at any size.

`encode` makes of tokens their features, and one vector of a text.
"""

from .checkpoint.name_map import import_state_dict, state_dict_shapes
from .checkpoint.released import open_checkpoint, open_part
from .describe import describe
from .encoding import encode
from .model import (
    CLIPTextModel,
    axis_sizes,
    config_of,
    model_from_config,
    named_model,
    weights_struct,
    with_dtype,
)
from .network.config import CONFIGS, CLIPTextConfig
from .network.encoder import CLIPText, Encoded
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes

__all__ = [
    "CONFIGS",
    "CLIPText",
    "CLIPTextConfig",
    "CLIPTextModel",
    "Encoded",
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
