"""A world small enough to ship: a tabletop, an expert, and a tiny DreamZero for it."""

from pathlib import Path

from ..dreamzero import weights_struct
from .drive import Drive, drive
from .model import TabletopModel, config_of, model_from_config, tabletop_config
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
    "model_from_config",
    "rollout",
    "success_rate",
    "tabletop_config",
    "weights_struct",
]
