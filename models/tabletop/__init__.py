"""A world small enough to ship: a tabletop, an expert, and a tiny DreamZero for it."""

from pathlib import Path

from .model import TabletopModel, model_from_config, tabletop_config, weights_struct
from .rollout import Rollout, film, rollout, success_rate

WEIGHTS = Path(__file__).with_name("weights.safetensors")

__all__ = [
    "WEIGHTS",
    "Rollout",
    "TabletopModel",
    "film",
    "model_from_config",
    "rollout",
    "success_rate",
    "tabletop_config",
    "weights_struct",
]
