"""DiT, a class-conditional diffusion transformer with SiT's flow matching.

`DiT` is the transformer, at any size, `DiTModel` what a sampler calls, in stages where
a cache looks inside; the bundled weights draw handwritten digits.
"""

from pathlib import Path

from .checkpoint import named_model, open_checkpoint, with_dtype
from .config import DiTConfig
from .configs import CONFIGS, DIGITS
from .describe import describe
from .model import DiTModel, config_of, model_from_config, weights_struct
from .network import Context, DiT
from .parameters import bind, init_weights, weight_shapes
from .state_dict import import_state_dict, state_dict_shapes

WEIGHTS = Path(__file__).with_name("weights.safetensors")

__all__ = [
    "CONFIGS",
    "DIGITS",
    "WEIGHTS",
    "Context",
    "DiT",
    "DiTConfig",
    "DiTModel",
    "bind",
    "config_of",
    "describe",
    "import_state_dict",
    "init_weights",
    "model_from_config",
    "named_model",
    "open_checkpoint",
    "state_dict_shapes",
    "weight_shapes",
    "weights_struct",
    "with_dtype",
]
