"""The sizes of Wan's transformers, and the releases that have them, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from jax_stepcache.errors import unknown_name

from ..layers.attention import check_kernel
from ..layers.video_sizes import VideoSizes
from ..sizes.counts import DTYPES, require_count
from ..sizes.options import require_known

# Options of diffusers' transformer that this implementation has with one value only.
_FIXED = {"qk_norm": "rms_norm_across_heads", "cross_attn_norm": True}

# Options of diffusers' that do not change what the forward computes: positions are made
# for as many frames, rows and columns as there are.
_WITHOUT_EFFECT = frozenset({"rope_max_seq_len", "_class_name", "_diffusers_version"})


@dataclass(frozen=True)
class WanConfig:
    """Sizes of a Wan transformer, under diffusers' names.

    Hashable, so that it may be a static argument of a jitted function.

    Attributes:
        patch_size: (frames, rows, columns) of one token; one frame.
        num_attention_heads: attention heads.
        attention_head_dim: channels of a head, even.
        in_channels: channels that enter: the latent's, and those of mask and
            condition where the transformer takes them.
        out_channels: channels of the latent and of its velocity.
        text_dim: width of an encoded prompt.
        freq_dim: width of the sinusoidal timestep embedding.
        ffn_dim: width of the feed-forward layers.
        num_layers: transformer blocks.
        eps: epsilon of the normalisations inside the blocks and the head.
        image_dim: width of the image features, or None for a transformer without the
            image branch and its weights.
        added_kv_proj_dim: width of the image tokens, that of all others; None exactly
            where ``image_dim`` is.
        pos_embed_seq_len: learned positions of the image tokens of first and last frame
            together, or None without them.
        dtype: name of the dtype of activations; weights keep their own.
        unroll: blocks per iteration of the loop over blocks.
        attention: ``"xla"``, ``"cudnn"``, or None for what suits the device; see
            `models.layers.attention.attend`.
    """

    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_attention_heads: int = 40
    attention_head_dim: int = 128
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    freq_dim: int = 256
    ffn_dim: int = 13824
    num_layers: int = 40
    eps: float = 1e-6
    image_dim: int | None = None
    added_kv_proj_dim: int | None = None
    pos_embed_seq_len: int | None = None
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
        for name in ("image_dim", "added_kv_proj_dim", "pos_embed_seq_len"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        if self.attention_head_dim % 2 or self.attention_head_dim < 6:
            raise ValueError(
                "attention_head_dim must be even and at least 6, to carry three "
                f"positions; got {self.attention_head_dim}"
            )
        if self.freq_dim % 2:
            raise ValueError(f"freq_dim must be even, got {self.freq_dim}")
        if len(self.patch_size) != 3 or self.patch_size[0] != 1:
            raise ValueError(
                f"patch_size must be (1, rows, cols), got {self.patch_size}"
            )
        if self.in_channels < self.out_channels:
            raise ValueError(
                "the latent is among what enters: in_channels must be at least "
                f"out_channels, got {self.in_channels} and {self.out_channels}"
            )
        width = None if self.image_dim is None else self.dim
        if self.added_kv_proj_dim != width:
            raise ValueError(
                f"added_kv_proj_dim must be {width} with image_dim={self.image_dim} "
                f"and a width of {self.dim}; got {self.added_kv_proj_dim}"
            )
        if self.pos_embed_seq_len is not None and self.image_dim is None:
            raise ValueError(
                "pos_embed_seq_len is of image tokens, and image_dim is None; got "
                f"{self.pos_embed_seq_len}"
            )
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))
        check_kernel(self.attention, self.dtype)

    @property
    def dim(self) -> int:
        """Width D of the residual stream."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def condition_channels(self) -> int:
        """Channels of mask and condition beside the latent's; 0 without them."""
        return self.in_channels - self.out_channels

    @property
    def video(self) -> VideoSizes:
        """The sizes of what the transformer shares with others of videos."""
        return VideoSizes(
            dim=self.dim,
            ffn_dim=self.ffn_dim,
            num_heads=self.num_attention_heads,
            num_layers=self.num_layers,
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            patch_size=self.patch_size,
            text_dim=self.text_dim,
            freq_dim=self.freq_dim,
            image_dim=self.image_dim,
            image_positions=self.pos_embed_seq_len,
            eps=self.eps,
            dtype=self.dtype,
            # As in the originals, whatever the rest is computed in.
            modulation_dtype="float64" if self.dtype == "float64" else "float32",
            attention=self.attention,
        )

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> WanConfig:
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
        given = {}
        for name, value in options.items():
            if name in _FIXED:
                if value != _FIXED[name]:
                    raise ValueError(
                        f"{name} must be {_FIXED[name]!r}, the only value that is "
                        f"implemented; got {value!r}"
                    )
            elif name not in _WITHOUT_EFFECT:
                given[name] = tuple(value) if name == "patch_size" else value
        require_known(cls, given, "Wan")
        return cls(**given)


_COUNTS = (
    "num_attention_heads",
    "attention_head_dim",
    "in_channels",
    "out_channels",
    "text_dim",
    "freq_dim",
    "ffn_dim",
    "num_layers",
    "unroll",
)

TASKS = ("t2v", "i2v", "flf2v", "ti2v")
"""What a film is made from: words; an image as well; a first and a last image; words
and perhaps a first image."""


@dataclass(frozen=True)
class WanRelease:
    """A transformer that was released, or two of the same sizes, and its defaults.

    Attributes:
        transformer: its sizes; those of each expert.
        task: one of `TASKS`.
        shift: of the schedule.
        guidance_scale: of the transformer; of the high-noise expert where there are
            two.
        num_inference_steps: solver steps.
        guidance_scale_2: of the low-noise expert; None for one transformer.
        boundary_ratio: the high-noise expert is asked while the timestep is at least
            1000 times this; None for one transformer.
        stride: pixel (frames, rows, columns) of one latent.
        size: pixel (height, width).
        num_frames: pixel frames, one more than a multiple of the stride.
        fps: frames a second of the film.
        name: what it is called in `RELEASES`; empty for any other.
    """

    transformer: WanConfig
    task: str
    shift: float
    guidance_scale: float = 5.0
    num_inference_steps: int = 50
    guidance_scale_2: float | None = None
    boundary_ratio: float | None = None
    stride: tuple[int, int, int] = (4, 8, 8)
    size: tuple[int, int] = (720, 1280)
    num_frames: int = 81
    fps: int = 16
    name: str = ""

    def __post_init__(self) -> None:
        """Checks that the parts fit each other.

        Raises:
            ValueError: naming what does not.
        """
        if self.task not in TASKS:
            raise ValueError(unknown_name("task", self.task, TASKS))
        if (self.boundary_ratio is None) != (self.guidance_scale_2 is None):
            raise ValueError(
                "two experts have a boundary_ratio and a guidance_scale_2, one "
                f"transformer neither; got {self.boundary_ratio} and "
                f"{self.guidance_scale_2}"
            )

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts, the high-noise one first; one name for one alone."""
        return ("transformer",) if self.boundary_ratio is None else ("high", "low")


_T2V_14B = WanConfig(dtype="bfloat16")
_I2V_14B = WanConfig(
    in_channels=36, image_dim=1280, added_kv_proj_dim=5120, dtype="bfloat16"
)

_RELEASES = {
    "wan2.1-t2v-1.3b": WanRelease(
        WanConfig(
            num_attention_heads=12, ffn_dim=8960, num_layers=30, dtype="bfloat16"
        ),
        "t2v",
        shift=5.0,
        size=(480, 832),
    ),
    "wan2.1-t2v-14b": WanRelease(_T2V_14B, "t2v", shift=5.0),
    "wan2.1-i2v-14b-480p": WanRelease(
        _I2V_14B, "i2v", shift=3.0, num_inference_steps=40, size=(480, 832)
    ),
    "wan2.1-i2v-14b-720p": WanRelease(
        _I2V_14B, "i2v", shift=5.0, num_inference_steps=40
    ),
    "wan2.1-flf2v-14b": WanRelease(
        WanConfig(
            in_channels=36,
            image_dim=1280,
            added_kv_proj_dim=5120,
            pos_embed_seq_len=514,
            dtype="bfloat16",
        ),
        "flf2v",
        shift=16.0,
    ),
    "wan2.2-ti2v-5b": WanRelease(
        WanConfig(
            num_attention_heads=24,
            in_channels=48,
            out_channels=48,
            ffn_dim=14336,
            num_layers=30,
            dtype="bfloat16",
        ),
        "ti2v",
        shift=5.0,
        stride=(4, 16, 16),
        size=(704, 1280),
        num_frames=121,
        fps=24,
    ),
    "wan2.2-t2v-a14b": WanRelease(
        _T2V_14B,
        "t2v",
        shift=12.0,
        guidance_scale=4.0,
        num_inference_steps=40,
        guidance_scale_2=3.0,
        boundary_ratio=0.875,
    ),
    "wan2.2-i2v-a14b": WanRelease(
        WanConfig(in_channels=36, dtype="bfloat16"),
        "i2v",
        shift=5.0,
        guidance_scale=3.5,
        num_inference_steps=40,
        guidance_scale_2=3.5,
        boundary_ratio=0.9,
    ),
}

RELEASES: Mapping[str, WanRelease] = MappingProxyType(
    {name: replace(release, name=name) for name, release in _RELEASES.items()}
)
"""The released sizes by name, with the originals' defaults."""
