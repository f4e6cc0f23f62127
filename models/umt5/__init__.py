"""UMT5's text encoder, which Wan and DreamZero read prompts with, at any size.

`encode` makes of tokens what a diffusion transformer reads; the tokens of a text come
from `jax_stepcache.models.prompts`.
"""

from .checkpoint.name_map import import_state_dict, state_dict_shapes
from .checkpoint.released import open_checkpoint, open_part
from .describe import describe
from .encoding import encode
from .model import (
    UMT5Model,
    axis_sizes,
    config_of,
    model_from_config,
    named_model,
    weights_struct,
    with_dtype,
)
from .network.config import UMT5Config
from .network.encoder import UMT5Encoder
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.published import CONFIGS

__all__ = [
    "CONFIGS",
    "UMT5Config",
    "UMT5Encoder",
    "UMT5Model",
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
