"""The sizes that were released, as openpi names them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .config import Pi0Config

CONFIGS: Mapping[str, Pi0Config] = MappingProxyType(
    {
        "pi0-base": Pi0Config(dtype="bfloat16"),
        "pi0-droid": Pi0Config(dtype="bfloat16", action_horizon=10),
        "pi0-libero": Pi0Config(dtype="bfloat16", action_horizon=50),
        "pi05-base": Pi0Config(dtype="bfloat16", pi05=True, max_token_len=200),
        "pi05-droid": Pi0Config(
            dtype="bfloat16", pi05=True, max_token_len=200, action_horizon=15
        ),
        "pi05-libero": Pi0Config(
            dtype="bfloat16", pi05=True, max_token_len=200, action_horizon=10
        ),
    }
)
"""By name."""
