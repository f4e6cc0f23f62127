"""Meta-World, a benchmark of robots' tasks: a small DreamZero that learns four."""

from pathlib import Path

from ..dreamzero import weights_struct
from ..worlds.configuration import config_of
from ..worlds.policy import load_policy, policy_of
from .model import MetaworldModel, metaworld_config, model_from_config
from .rollout import Rollout, film, rollout, served_rollout
from .tasks import NAMES

WEIGHTS = Path(__file__).with_name("weights.safetensors")

__all__ = [
    "NAMES",
    "WEIGHTS",
    "MetaworldModel",
    "Rollout",
    "config_of",
    "film",
    "load_policy",
    "metaworld_config",
    "model_from_config",
    "policy_of",
    "rollout",
    "served_rollout",
    "weights_struct",
]
