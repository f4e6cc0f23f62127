"""DreamZero, a world-action model: video and actions denoised together.

`CausalWanModel` is its transformer (both published types, any size), `KVCache`
what it remembers of the frames before, and `denoise` the function a sampler calls.
"""

from .attention import Context, KeysValues
from .config import DreamZeroConfig
from .denoiser import DreamZeroCondition, denoise
from .dit import CausalWanModel, Outputs, bind, init_weights, weight_shapes
from .kv_cache import KVCache
from .state_dict import import_state_dict, state_dict_shapes

__all__ = [
    "CausalWanModel",
    "Context",
    "DreamZeroCondition",
    "DreamZeroConfig",
    "KVCache",
    "KeysValues",
    "Outputs",
    "bind",
    "denoise",
    "import_state_dict",
    "init_weights",
    "state_dict_shapes",
    "weight_shapes",
]
