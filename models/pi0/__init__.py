"""pi0 and pi0.5, openpi's policies: pictures, words and a state to a chunk of actions.

`Pi0` is the network, `Pi0Model` what a sampler calls, in stages where a cache looks
inside.
"""

from ..checkpoints.part import memory
from .checkpoint.name_map import import_arrays
from .checkpoint.released import open_checkpoint
from .describe import describe
from .model import (
    CAMERAS,
    Pi0Model,
    axis_sizes,
    config_of,
    model_from_config,
    named_model,
    weights_struct,
    with_dtype,
)
from .network.config import GemmaConfig, Pi0Config, VisionConfig
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.pi0 import Pi0, Pi0Condition
from .network.published import CONFIGS
from .pipeline import Pi0Pipeline, Pi0Step
from .policy import load_policy, policy_of
from .robot.robots import ROBOTS, Robot
from .robot.statistics import Statistics, load_statistics
from .robot.words import Words, load_words

__all__ = [
    "CAMERAS",
    "CONFIGS",
    "ROBOTS",
    "GemmaConfig",
    "Pi0",
    "Pi0Condition",
    "Pi0Config",
    "Pi0Model",
    "Pi0Pipeline",
    "Pi0Step",
    "Robot",
    "Statistics",
    "VisionConfig",
    "Words",
    "axis_sizes",
    "bind",
    "config_of",
    "describe",
    "import_arrays",
    "init_weights",
    "load_policy",
    "load_statistics",
    "load_words",
    "memory",
    "model_from_config",
    "named_model",
    "open_checkpoint",
    "policy_of",
    "weight_axes",
    "weight_shapes",
    "weights_struct",
    "with_dtype",
]
