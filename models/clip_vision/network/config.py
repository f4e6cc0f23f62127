"""The sizes of a CLIP image encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jax_stepcache.errors import unknown_name

from ...sizes.counts import DTYPES, require_count
from ...sizes.options import require_known

_COUNTS = ("image_size", "patch_size", "dim", "num_heads", "num_layers", "out_dim")


@dataclass(frozen=True)
class CLIPVisionConfig:
    """Sizes of `CLIPVision`, under the original's names.

    Hashable, so that it may be a static argument of a jitted function. The defaults
    are those of ViT-H/14.

    Attributes:
        image_size: rows, and columns, that pictures are resized to.
        patch_size: rows, and columns, of one token; it divides ``image_size``.
        dim: width of the residual stream.
        mlp_ratio: width of the feed-forward layers over ``dim``.
        num_heads: attention heads; they divide ``dim``.
        num_layers: transformer blocks of the whole encoder, at least two. The last one
            is not run: features are those before it.
        out_dim: width of the embedding that CLIP compares with that of a text, of
            which the features have no use.
        eps: added to the variances that normalisations divide by.
        dtype: name of the dtype of activations; weights keep their own.
    """

    image_size: int = 224
    patch_size: int = 14
    dim: int = 1280
    mlp_ratio: float = 4
    num_heads: int = 16
    num_layers: int = 32
    out_dim: int = 1024
    eps: float = 1e-5
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in _COUNTS:
            require_count(name, getattr(self, name))
        for name, of in (("patch_size", "image_size"), ("num_heads", "dim")):
            if getattr(self, of) % getattr(self, name):
                raise ValueError(
                    f"{name} must divide {of}, got {getattr(self, name)} and "
                    f"{getattr(self, of)}"
                )
        if self.num_layers < 2:
            raise ValueError(
                "num_layers must be at least 2, for features are those before the last "
                f"block; got {self.num_layers}"
            )
        if self.mlp_width < 1:
            raise ValueError(f"mlp_ratio must be positive, got {self.mlp_ratio}")
        if not self.eps > 0:
            raise ValueError(f"eps must be positive, got {self.eps}")
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))

    @property
    def depth(self) -> int:
        """Blocks that are run."""
        return self.num_layers - 1

    @property
    def tokens(self) -> int:
        """Tokens of a picture, that of the class included."""
        return 1 + (self.image_size // self.patch_size) ** 2

    @property
    def mlp_width(self) -> int:
        """Width of the feed-forward layers."""
        return int(self.dim * self.mlp_ratio)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> CLIPVisionConfig:
        """Reads options by name.

        Args:
            options: as `dataclasses.asdict` gives them.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or sizes that do not fit.
        """
        require_known(cls, options, "CLIP")
        return cls(**options)
