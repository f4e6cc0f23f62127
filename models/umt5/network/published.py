"""The released size, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .config import UMT5Config

# The encoder of google/umt5-xxl, which Wan and DreamZero take their prompts from.
CONFIGS: Mapping[str, UMT5Config] = MappingProxyType(
    {"umt5-xxl": UMT5Config(dtype="bfloat16")}
)
