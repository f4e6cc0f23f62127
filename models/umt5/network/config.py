"""The sizes of a UMT5 text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jax_stepcache.errors import unknown_name

from ...sizes.counts import DTYPES, require_count
from ...sizes.options import require_known

_COUNTS = (
    "vocab",
    "dim",
    "dim_attn",
    "dim_ffn",
    "num_heads",
    "num_layers",
    "num_buckets",
    "max_dist",
)


@dataclass(frozen=True)
class UMT5Config:
    """Sizes of `UMT5Encoder`, under the names of Wan's code.

    Hashable, so that it may be a static argument of a jitted function. The defaults
    are those of UMT5-XXL.

    Attributes:
        vocab: tokens that there are.
        dim: width of the residual stream.
        dim_attn: width of all heads together.
        dim_ffn: width of the feed-forward layers.
        num_heads: attention heads; they divide ``dim_attn``.
        num_layers: transformer blocks.
        num_buckets: kinds of distances between two tokens, half of them to the right;
            at least four.
        max_dist: from this distance on all are of one kind; more than a quarter of
            ``num_buckets``, for those below that have a kind of their own.
        one_table: whether all blocks have the same table of positions, as in T5; each
            keeps a copy of it.
        eps: added to the mean squares that normalisations divide by.
        dtype: name of the dtype of activations; weights keep their own.
    """

    vocab: int = 256384
    dim: int = 4096
    dim_attn: int = 4096
    dim_ffn: int = 10240
    num_heads: int = 64
    num_layers: int = 24
    num_buckets: int = 32
    max_dist: int = 128
    one_table: bool = False
    eps: float = 1e-6
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in _COUNTS:
            require_count(name, getattr(self, name))
        if self.dim_attn % self.num_heads:
            raise ValueError(
                f"num_heads must divide dim_attn, got {self.num_heads} and "
                f"{self.dim_attn}"
            )
        if self.num_buckets < 4:
            raise ValueError(f"num_buckets must be at least 4, got {self.num_buckets}")
        if self.max_dist <= self.num_buckets // 4:
            raise ValueError(
                f"max_dist must be more than num_buckets / 4, got {self.max_dist} and "
                f"{self.num_buckets}"
            )
        if not self.eps > 0:
            raise ValueError(f"eps must be positive, got {self.eps}")
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> UMT5Config:
        """Reads options by name.

        Args:
            options: as `dataclasses.asdict` gives them.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or sizes that do not fit.
        """
        require_known(cls, options, "UMT5")
        return cls(**options)
