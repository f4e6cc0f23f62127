"""The released size, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .config import CLIPVisionConfig

# The picture's half of OpenCLIP's XLM-RoBERTa CLIP, which Wan and DreamZero look with.
CONFIGS: Mapping[str, CLIPVisionConfig] = MappingProxyType(
    {"clip-vit-h-14": CLIPVisionConfig(dtype="bfloat16")}
)
