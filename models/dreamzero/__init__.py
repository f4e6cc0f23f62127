"""DreamZero, a world-action model: video and actions denoised together.

`CausalWanModel` is its transformer (both published types, any size), `KVCache`
what it remembers of the frames before, and `denoise` the function a sampler calls.
"""

from typing import Any

from ..layers.attention import KeysValues
from ..layers.prompt_attention import Context
from .checkpoint.name_map import import_state_dict, state_dict_shapes, tensor_plans
from .checkpoint.released import named_model, open_checkpoint, with_dtype
from .control.pipeline import LatentPipeline
from .control.step import ControlStep
from .describe import describe, memory
from .model import (
    DreamZeroModel,
    axis_sizes,
    config_of,
    model_from_config,
    weights_struct,
)
from .network.config import DreamZeroConfig
from .network.kv_cache import KVCache
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.published import CONFIGS, Size
from .network.stages import DreamZeroCondition, denoise
from .network.tokens import Outputs
from .network.transformer import CausalWanModel
from .pixels.canvas import PictureSizes
from .pixels.encoders import Encoders
from .pixels.film import save_film
from .pixels.pipeline import DreamZeroPipeline
from .pixels.policy import DreamZeroPolicy, load_policy, policy_of
from .pixels.session import RobotSession
from .pixels.step import RobotStep
from .robot.embodiments import EMBODIMENTS, Embodiment, get_embodiment
from .robot.statistics import Statistics, load_statistics
from .robot.units import actions_to_robot, normalise_state, robot_to_actions
from .session.batch import split_sessions, stack_sessions
from .session.observation import Observation
from .session.session import Session

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
    "DreamZeroPolicy",
    "Embodiment",
    "Encoders",
    "KVCache",
    "KeysValues",
    "LatentPipeline",
    "Observation",
    "Outputs",
    "PictureSizes",
    "RobotSession",
    "RobotStep",
    "Session",
    "Size",
    "Statistics",
    "actions_to_robot",
    "axis_sizes",
    "bind",
    "config_of",
    "denoise",
    "describe",
    "get_embodiment",
    "import_state_dict",
    "init_weights",
    "load_policy",
    "load_statistics",
    "memory",
    "model_from_config",
    "named_model",
    "normalise_state",
    "open_checkpoint",
    "policy_of",
    "robot_to_actions",
    "save_film",
    "split_sessions",
    "stack_sessions",
    "state_dict_shapes",
    "tensor_plans",
    "weight_axes",
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
