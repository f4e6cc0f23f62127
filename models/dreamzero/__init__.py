"""DreamZero, a world-action model: video and actions denoised together.

`CausalWanModel` is its transformer (both published types, any size), `KVCache`
what it remembers of the frames before, and `denoise` the function a sampler calls.
"""

from .attention import Context, KeysValues
from .config import DreamZeroConfig
from .configs import CONFIGS, Size
from .denoiser import DreamZeroCondition, denoise
from .dit import CausalWanModel, Outputs, bind, init_weights, weight_shapes
from .kv_cache import KVCache
from .model import DreamZeroModel, config_of, model_from_config, weights_struct
from .state_dict import import_state_dict, state_dict_shapes

__all__ = [
    "CONFIGS",
    "CausalWanModel",
    "Context",
    "DreamZeroCondition",
    "DreamZeroConfig",
    "DreamZeroModel",
    "KVCache",
    "KeysValues",
    "Outputs",
    "Size",
    "bind",
    "config_of",
    "denoise",
    "import_state_dict",
    "init_weights",
    "model_from_config",
    "state_dict_shapes",
    "weight_shapes",
    "weights_struct",
]
