"""The sizes of FLUX's transformers, and the releases that have them, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from jax_stepcache.errors import unknown_name

from ..layers.attention import check_kernel
from ..sizes.counts import DTYPES, require_count
from ..sizes.options import require_known

# Options of diffusers' that do not change what the forward computes.
_WITHOUT_EFFECT = frozenset({"_class_name", "_diffusers_version", "_name_or_path"})
# Rows and columns of the latent that are one token.
PATCH = 2
TRAINED_TIMES = 1000
"""What times in [0, 1] and guidance scales are multiplied by before their sinusoids."""


@dataclass(frozen=True)
class FluxConfig:
    """Sizes of a FLUX transformer, under diffusers' names.

    Hashable, so that it may be a static argument of a jitted function.

    Attributes:
        in_channels: values of a token: the latent's channels, 2 x 2 of them.
        num_layers: double blocks, in which image and text have weights of their own.
        num_single_layers: single blocks, which both share.
        attention_head_dim: channels of a head, even.
        num_attention_heads: attention heads.
        joint_attention_dim: width of an encoded prompt's tokens.
        pooled_projection_dim: width of a prompt as one vector.
        guidance_embeds: whether the guidance scale is told to the network.
        axes_dims_rope: channels of a head that carry each of three positions.
        patch_size: 1; tokens are packed before they enter.
        out_channels: values of a token of velocity; as many as enter unless given.
        mlp_ratio: width of the feed-forward layers over that of the tokens.
        freq_dim: width of the sinusoids.
        dtype: name of the dtype of activations; weights keep their own.
        unroll: blocks per iteration of the loops over blocks.
        attention: ``"xla"``, ``"cudnn"``, or None for what suits the device; see
            `models.layers.attention.attend`.
    """

    in_channels: int = 64
    num_layers: int = 19
    num_single_layers: int = 38
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    joint_attention_dim: int = 4096
    pooled_projection_dim: int = 768
    guidance_embeds: bool = False
    axes_dims_rope: tuple[int, int, int] = (16, 56, 56)
    patch_size: int = 1
    out_channels: int | None = None
    mlp_ratio: float = 4.0
    freq_dim: int = 256
    dtype: str = "float32"
    unroll: int = 1
    attention: str | None = None

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in _COUNTS:
            require_count(name, getattr(self, name))
        if self.in_channels % PATCH**2:
            raise ValueError(
                f"in_channels must be a multiple of {PATCH**2}, the latents of a "
                f"token; got {self.in_channels}"
            )
        if self.out_channels not in (None, self.in_channels):
            raise ValueError(
                f"out_channels must be in_channels, {self.in_channels}, the only value "
                f"that is implemented; got {self.out_channels}"
            )
        if self.patch_size != 1:
            raise ValueError(
                "patch_size must be 1, the only value that is implemented; got "
                f"{self.patch_size}"
            )
        axes = self.axes_dims_rope
        whole = sum(axes) == self.attention_head_dim
        if len(axes) != 3 or any(x % 2 or x < 0 for x in axes) or not whole:
            raise ValueError(
                "axes_dims_rope must be three even numbers whose sum is "
                f"attention_head_dim, {self.attention_head_dim}; got {axes}"
            )
        if self.freq_dim % 2:
            raise ValueError(f"freq_dim must be even, got {self.freq_dim}")
        if self.mlp_width < 1:
            raise ValueError(f"mlp_ratio must be positive, got {self.mlp_ratio}")
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))
        check_kernel(self.attention, self.dtype)

    @property
    def dim(self) -> int:
        """Width D of tokens."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def mlp_width(self) -> int:
        """Width of the feed-forward layers."""
        return int(self.dim * self.mlp_ratio)

    @property
    def channels(self) -> int:
        """Channels of the latent."""
        return self.in_channels // PATCH**2

    @property
    def num_blocks(self) -> int:
        """Blocks of both kinds."""
        return self.num_layers + self.num_single_layers

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> FluxConfig:
        """Reads diffusers' ``transformer/config.json``.

        Options that do not change the forward are passed over.

        Args:
            options: option names and values.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or a value that this
                implementation does not offer.
        """
        given = {n: x for n, x in options.items() if n not in _WITHOUT_EFFECT}
        require_known(cls, given, "FLUX")
        if "axes_dims_rope" in given:
            given["axes_dims_rope"] = tuple(given["axes_dims_rope"])
        return cls(**given)


_COUNTS = (
    "in_channels",
    "num_layers",
    "num_single_layers",
    "attention_head_dim",
    "num_attention_heads",
    "joint_attention_dim",
    "pooled_projection_dim",
    "freq_dim",
    "unroll",
)


@dataclass(frozen=True)
class FluxRelease:
    """A transformer that was released, and its defaults.

    Attributes:
        transformer: its sizes.
        shifted: whether noise levels are shifted by the number of tokens.
        guidance_scale: what the network is told, where it is told any.
        num_inference_steps: solver steps.
        text_len: tokens of an encoded prompt.
        size: pixel (height, width).
        stride: pixels of one latent, in rows and columns.
        name: what it is called in `RELEASES`; empty for any other.
    """

    transformer: FluxConfig
    shifted: bool = True
    guidance_scale: float = 3.5
    num_inference_steps: int = 50
    text_len: int = 512
    size: tuple[int, int] = (1024, 1024)
    stride: int = 8
    name: str = ""


_RELEASES = {
    "flux.1-dev": FluxRelease(FluxConfig(guidance_embeds=True, dtype="bfloat16")),
    "flux.1-schnell": FluxRelease(
        FluxConfig(dtype="bfloat16"),
        shifted=False,
        guidance_scale=0.0,
        num_inference_steps=4,
        text_len=256,
    ),
}

RELEASES: Mapping[str, FluxRelease] = MappingProxyType(
    {name: replace(release, name=name) for name, release in _RELEASES.items()}
)
"""The released sizes by name, with the originals' defaults."""
