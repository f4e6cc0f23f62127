"""What a transformer of videos is sized by, whatever its model has for names."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class VideoSizes:
    """Sizes of a `VideoTransformer`.

    Attributes:
        dim: width D of the residual stream.
        ffn_dim: width of the feed-forward layers.
        num_heads: attention heads.
        num_layers: blocks.
        in_channels: channels that enter.
        out_channels: channels of the velocity.
        patch_size: (1, rows, columns) of one token.
        text_dim: width of an encoded prompt.
        freq_dim: width of the sinusoidal timestep embedding.
        image_dim: width of the image features, or None without an image branch.
        image_positions: image tokens with a learned position each; None without these.
        eps: of the normalisations inside blocks and head.
        dtype: name of the dtype of activations.
        modulation_dtype: of the time embedding, of what comes of it, and of the sums
            and products with that; at least as wide.
        attention: see `attend`.
    """

    dim: int
    ffn_dim: int
    num_heads: int
    num_layers: int
    in_channels: int
    out_channels: int
    patch_size: tuple[int, int, int]
    text_dim: int
    freq_dim: int
    image_dim: int | None
    image_positions: int | None
    eps: float
    dtype: str
    modulation_dtype: str
    attention: str | None

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.dim // self.num_heads

    @property
    def patch_in(self) -> int:
        """Values of a patch that enters."""
        return prod(self.patch_size) * self.in_channels

    @property
    def patch_out(self) -> int:
        """Values of a patch of velocity."""
        return prod(self.patch_size) * self.out_channels
