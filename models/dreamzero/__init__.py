"""DreamZero, a world-action model: video and actions denoised together.

`CausalWanModel` is its transformer (both published types, any size), `KVCache`
what it remembers of the frames before, and `denoise` the function a sampler calls.
"""

from typing import Any

from .attention import Context, KeysValues
from .checkpoint import named_model, open_checkpoint, with_dtype
from .config import DreamZeroConfig
from .configs import CONFIGS, Size
from .denoiser import DreamZeroCondition, denoise
from .describe import describe
from .dit import CausalWanModel, Outputs
from .embodiments import EMBODIMENTS, Embodiment, get_embodiment
from .kv_cache import KVCache
from .model import DreamZeroModel, config_of, model_from_config, weights_struct
from .observation import Observation
from .parameters import bind, init_weights, weight_shapes
from .pipeline import ControlStep, DreamZeroPipeline
from .session import Session, split_sessions, stack_sessions
from .state_dict import import_state_dict, state_dict_shapes
from .statistics import (
    Statistics,
    actions_to_robot,
    load_statistics,
    normalise_state,
    robot_to_actions,
)

__all__ = [
    "CONFIGS",
    "EMBODIMENTS",
    "CausalWanModel",
    "Context",
    "ControlStep",
    "DreamZeroCondition",
    "DreamZeroConfig",
    "DreamZeroModel",
    "DreamZeroPipeline",
    "Embodiment",
    "KVCache",
    "KeysValues",
    "Observation",
    "Outputs",
    "Session",
    "Size",
    "Statistics",
    "actions_to_robot",
    "bind",
    "config_of",
    "denoise",
    "describe",
    "get_embodiment",
    "import_state_dict",
    "init_weights",
    "load_statistics",
    "model_from_config",
    "named_model",
    "normalise_state",
    "open_checkpoint",
    "robot_to_actions",
    "split_sessions",
    "stack_sessions",
    "state_dict_shapes",
    "weight_shapes",
    "weights_struct",
    "with_dtype",
]

_TRAINING = ("FinetuneSettings", "finetune")


def __getattr__(name: str) -> Any:
    # Training brings Orbax and optax along, which sampling does not need.
    if name in _TRAINING:
        from . import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
