"""A world small enough to ship: a tabletop, an expert, and a tiny DreamZero for it."""

from pathlib import Path

from ..dreamzero import weights_struct
from ..worlds.configuration import config_of
from ..worlds.policy import load_policy, policy_of
from .drive import Drive, drive
from .model import TabletopModel, model_from_config, tabletop_config
from .rollout import Rollout, film, rollout, success_rate

WEIGHTS = Path(__file__).with_name("weights.safetensors")

__all__ = [
    "WEIGHTS",
    "Drive",
    "Rollout",
    "TabletopModel",
    "config_of",
    "drive",
    "film",
    "load_policy",
    "model_from_config",
    "policy_of",
    "rollout",
    "success_rate",
    "tabletop_config",
    "weights_struct",
]
