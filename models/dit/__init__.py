"""DiT, a class-conditional diffusion transformer with SiT's flow matching.

`DiT` is the transformer, at any size, `DiTModel` what a sampler calls, in stages where
a cache looks inside; the bundled weights draw handwritten digits.
"""

from pathlib import Path

from .checkpoint.name_map import import_state_dict, state_dict_shapes
from .checkpoint.released import named_model, open_checkpoint, with_dtype
from .describe import describe
from .model import DiTModel, axis_sizes, config_of, model_from_config, weights_struct
from .network.config import DiTConfig
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.published import CONFIGS, DIGITS
from .network.transformer import Context, DiT

WEIGHTS = Path(__file__).with_name("weights.safetensors")

__all__ = [
    "CONFIGS",
    "DIGITS",
    "WEIGHTS",
    "Context",
    "DiT",
    "DiTConfig",
    "DiTModel",
    "axis_sizes",
    "bind",
    "config_of",
    "describe",
    "import_state_dict",
    "init_weights",
    "model_from_config",
    "named_model",
    "open_checkpoint",
    "state_dict_shapes",
    "weight_axes",
    "weight_shapes",
    "weights_struct",
    "with_dtype",
]
