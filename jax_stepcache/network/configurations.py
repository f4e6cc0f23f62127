"""Names of models that have no bundled weights, and of the parts of checkpoints.

Values are the short names of packages, which `registry` knows how to load.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_WAN = (
    "2.1-t2v-1.3b",
    "2.1-t2v-14b",
    "2.1-i2v-14b-480p",
    "2.1-i2v-14b-720p",
    "2.1-flf2v-14b",
    "2.2-ti2v-5b",
    "2.2-t2v-a14b",
    "2.2-i2v-a14b",
)

_ROBOTS = ("base", "droid", "libero")

CONFIGURATIONS: Mapping[str, str] = MappingProxyType(
    {
        "droid-14b": "dreamzero",
        "wan22-5b": "dreamzero",
        **{f"wan{name}": "wan" for name in _WAN},
        "flux.1-dev": "flux",
        "flux.1-schnell": "flux",
        "flux-vae": "flux_vae",
        **{f"pi0{of}-{name}": "pi0" for of in ("", "5") for name in _ROBOTS},
        "wan-vae-2.1": "wan_vae",
        "wan-vae-2.2": "wan_vae",
        "umt5-xxl": "umt5",
        "t5-v1.1-xxl": "umt5",
        "clip-vit-l-14": "clip_text",
        "clip-vit-h-14": "clip_vision",
        **{f"sit-{x}/{p}": "dit" for x in ("s", "b", "l", "xl") for p in (2, 4, 8)},
    }
)
"""Configurations that have a name and no bundled weights, and their packages."""

PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vae": ("wan_vae", "flux_vae"),
        "text_encoder": ("umt5", "clip_text"),
        "text_encoder_2": ("umt5",),
        "image_encoder": ("clip_vision",),
        "transformer": ("wan", "flux"),
        "transformer_2": ("wan",),
    }
)
"""What a checkpoint of several networks has, under diffusers' names for it, and the
packages that know such a thing: what stands beside the one that is sampled, or one of
two that are."""
