"""The published sizes, by name, and that of the bundled weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .config import DiTConfig

# Width, blocks and heads of each published size.
_WIDTHS = {
    "s": (384, 12, 6),
    "b": (768, 12, 12),
    "l": (1024, 24, 16),
    "xl": (1152, 28, 16),
}

# The sizes of table 1 of Peebles & Xie, on the latents of 256 x 256 pictures.
CONFIGS: Mapping[str, DiTConfig] = MappingProxyType(
    {
        f"sit-{size}/{patch}": DiTConfig(
            patch_size=patch, hidden_size=width, depth=depth, num_heads=heads
        )
        for size, (width, depth, heads) in _WIDTHS.items()
        for patch in (2, 4, 8)
    }
)

# The heads that go with a width, which a checkpoint's shapes do not tell.
HEADS: Mapping[int, int] = MappingProxyType(
    {width: heads for width, _, heads in _WIDTHS.values()}
)

# Handwritten digits of 8 x 8 grey pixels, the bundled weights'.
DIGITS = DiTConfig(
    input_size=8,
    in_channels=1,
    hidden_size=64,
    depth=6,
    num_heads=4,
    num_classes=10,
    learn_sigma=False,
)
