"""The size and type of a DreamZero diffusion transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from jax_stepcache.errors import unknown_name

from ...layers.attention import check_kernel
from ...layers.video_sizes import VideoSizes
from ...sizes.counts import DTYPES, require_count

_MODEL_TYPES = ("t2v", "i2v", "ti2v")

# Options of the original that this implementation has with one value only.
_FIXED = {"qk_norm": True, "cross_attn_norm": True, "sink_size": 0}

# Options of the original that do not change what its forward computes.
_WITHOUT_EFFECT = frozenset(
    {
        "num_registers",
        "max_num_embodiments",
        "diffusion_model_pretrained_path",
        "local_attn_size",
        "_target_",
        "_convert_",
        "_recursive_",
    }
)


@dataclass(frozen=True)
class DreamZeroConfig:
    """Sizes and switches of `CausalWanModel`, under the original's names.

    Hashable, so that it may be a static argument of a jitted function.

    Attributes:
        model_type: ``"i2v"`` (DROID 14B), ``"ti2v"`` (Wan2.2 5B) or ``"t2v"``.
        dim: width D of the residual stream.
        ffn_dim: width of the feed-forward layers.
        num_heads: attention heads; they divide ``dim`` into even parts.
        num_layers: transformer blocks.
        in_dim: input channels of the patch embedding (with those of ``y`` where
            ``concat_first_frame_latent``).
        out_dim: latent channels of the predicted velocity.
        frame_seqlen: tokens of one latent frame.
        text_len: tokens of an encoded prompt.
        text_dim: width of an encoded prompt.
        freq_dim: width of the sinusoidal timestep embedding.
        patch_size: (frames, rows, columns) of one token; one frame.
        eps: epsilon of the normalisations inside the blocks and the head.
        max_chunk_size: blocks of frames that the attention window spans.
        num_frame_per_block: latent frames predicted at a time.
        num_action_per_block: actions predicted at a time.
        num_state_per_block: robot states given at a time.
        action_dim: components of an action.
        max_state_dim: components of a state, padding included.
        hidden_size: width of the projectors of state and action.
        concat_first_frame_latent: whether the conditioning latent ``y`` is
            concatenated to the video channels.
        image_dim: width of the image features, or None for a model without
            the image branch and its weights.
        image_len: image tokens.
        dtype: name of the dtype of activations; weights keep their own.
        unroll: blocks per iteration of the loop over blocks. Only speed depends
            on it: with all of a small model's blocks unrolled a CPU takes a third
            less time for gradients, and the program takes longer to compile.
        attention: ``"xla"``, which runs anywhere; ``"cudnn"``, the fused kernel for
            GPUs and 16-bit activations; None for that one on a GPU in 16 bits, and
            elsewhere the other.
    """

    model_type: str = "i2v"
    dim: int = 5120
    ffn_dim: int = 13824
    num_heads: int = 40
    num_layers: int = 40
    in_dim: int = 36
    out_dim: int = 16
    frame_seqlen: int = 880
    text_len: int = 512
    text_dim: int = 4096
    freq_dim: int = 256
    patch_size: tuple[int, int, int] = (1, 2, 2)
    eps: float = 1e-6
    max_chunk_size: int = 4
    num_frame_per_block: int = 2
    num_action_per_block: int = 24
    num_state_per_block: int = 1
    action_dim: int = 32
    max_state_dim: int = 64
    hidden_size: int = 1024
    concat_first_frame_latent: bool = True
    image_dim: int | None = 1280
    image_len: int = 257
    dtype: str = "float32"
    unroll: int = 1
    attention: str | None = None

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        if self.model_type not in _MODEL_TYPES:
            raise ValueError(unknown_name("model_type", self.model_type, _MODEL_TYPES))
        optional = {"image_dim"} if self.image_dim is None else set()
        for field in fields(self):
            counted = field.type in ("int", "int | None")
            if counted and field.name not in optional:
                require_count(field.name, getattr(self, field.name))
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(
                f"num_heads must divide dim into even parts, got dim {self.dim} and "
                f"num_heads {self.num_heads}"
            )
        if self.head_dim < 6:
            raise ValueError(
                "a head needs at least 6 channels to carry three positions, got "
                f"dim / num_heads = {self.head_dim}"
            )
        if self.freq_dim % 2:
            raise ValueError(f"freq_dim must be even, got {self.freq_dim}")
        if len(self.patch_size) != 3 or self.patch_size[0] != 1:
            raise ValueError(
                f"patch_size must be (1, rows, cols), got {self.patch_size}"
            )
        if self.concat_first_frame_latent and self.in_dim <= self.out_dim:
            raise ValueError(
                "with concat_first_frame_latent the input holds the latent and y: "
                f"in_dim must exceed out_dim, got {self.in_dim} and {self.out_dim}"
            )
        if not self.concat_first_frame_latent and self.in_dim != self.out_dim:
            raise ValueError(
                "without concat_first_frame_latent in_dim must equal out_dim, got "
                f"{self.in_dim} and {self.out_dim}"
            )
        if self.num_action_per_block % self.num_state_per_block:
            raise ValueError(
                "num_state_per_block must divide num_action_per_block, got "
                f"{self.num_state_per_block} and {self.num_action_per_block}"
            )
        if self.dtype not in DTYPES:
            raise ValueError(
                f"dtype must be float32, bfloat16, float16 or float64, got {self.dtype}"
            )
        check_kernel(self.attention, self.dtype)

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.num_heads

    @property
    def window(self) -> int:
        """Latent frames of video that a query may attend to."""
        return self.max_chunk_size * self.num_frame_per_block + 1

    @property
    def y_dim(self) -> int:
        """Channels of the conditioning latent ``y``; 0 where there is none."""
        return self.in_dim - self.out_dim

    @property
    def video(self) -> VideoSizes:
        """The sizes of what the transformer shares with others of videos."""
        return VideoSizes(
            dim=self.dim,
            ffn_dim=self.ffn_dim,
            num_heads=self.num_heads,
            num_layers=self.num_layers,
            in_channels=self.in_dim,
            out_channels=self.out_dim,
            patch_size=self.patch_size,
            text_dim=self.text_dim,
            freq_dim=self.freq_dim,
            image_dim=self.image_dim,
            image_positions=None,
            eps=self.eps,
            dtype=self.dtype,
            modulation_dtype=self.dtype,
            attention=self.attention,
        )

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> DreamZeroConfig:
        """Reads the options of the original's ``diffusion_model_cfg``.

        Options that do not change the forward are passed over.

        Args:
            options: option names and values, as in the checkpoint's JSON.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or a value that this
                implementation does not offer.
        """
        names = {field.name for field in fields(cls)}
        given = {}
        for name, value in options.items():
            if name in _FIXED:
                if value != _FIXED[name]:
                    raise ValueError(
                        f"{name} must be {_FIXED[name]!r}, the only value that is "
                        f"implemented; got {value!r}"
                    )
            elif name in names:
                given[name] = tuple(value) if name == "patch_size" else value
            elif name not in _WITHOUT_EFFECT:
                raise ValueError(unknown_name("option of DreamZero", name, names))
        if given.get("model_type") == "t2v":
            given.setdefault("image_dim", None)
        return cls(**given)
