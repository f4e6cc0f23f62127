"""The released sizes, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .config import UMT5Config

# The encoders of google/umt5-xxl, which Wan and DreamZero take their prompts from, and
# of google/t5-v1_1-xxl, which FLUX does; blocks of T5 have one table of positions.
CONFIGS: Mapping[str, UMT5Config] = MappingProxyType(
    {
        "umt5-xxl": UMT5Config(dtype="bfloat16"),
        "t5-v1.1-xxl": UMT5Config(vocab=32128, one_table=True, dtype="bfloat16"),
    }
)
