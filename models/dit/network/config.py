"""The sizes of a class-conditional diffusion transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jax_stepcache.errors import unknown_name

from ...sizes.counts import DTYPES, require_count
from ...sizes.options import require_known

_COUNTS = (
    "input_size",
    "patch_size",
    "in_channels",
    "hidden_size",
    "depth",
    "num_heads",
    "num_classes",
)


@dataclass(frozen=True)
class DiTConfig:
    """Sizes and switches of `DiT`, under the original's names.

    Hashable, so that it may be a static argument of a jitted function. The defaults
    are those of SiT-XL/2.

    Attributes:
        input_size: rows, and columns, of the sample.
        patch_size: rows, and columns, of one token; it divides ``input_size``.
        in_channels: channels of the sample: 4 for the VAE's latents, 1 or 3 for pixels.
        hidden_size: width D of the residual stream, a multiple of four: sines and
            cosines of rows and of columns share it.
        depth: transformer blocks.
        num_heads: attention heads; they divide ``hidden_size``.
        mlp_ratio: width of the feed-forward layers over ``hidden_size``.
        num_classes: labels; the one after the last stands for none.
        learn_sigma: whether the output has as many channels again, of which flow
            matching has no use. The published weights have them.
        dtype: name of the dtype of activations; weights keep their own.
    """

    input_size: int = 32
    patch_size: int = 2
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    learn_sigma: bool = True
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in _COUNTS:
            require_count(name, getattr(self, name))
        if self.input_size % self.patch_size:
            raise ValueError(
                f"patch_size must divide input_size, got {self.patch_size} and "
                f"{self.input_size}"
            )
        if self.hidden_size % 4 or self.hidden_size % self.num_heads:
            raise ValueError(
                "hidden_size must be a multiple of 4 and of num_heads, got "
                f"{self.hidden_size} and num_heads {self.num_heads}"
            )
        if self.mlp_width < 1:
            raise ValueError(f"mlp_ratio must be positive, got {self.mlp_ratio}")
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))

    @property
    def grid(self) -> int:
        """Tokens in a row, and in a column."""
        return self.input_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Tokens of a sample."""
        return self.grid**2

    @property
    def mlp_width(self) -> int:
        """Width of the feed-forward layers."""
        return int(self.hidden_size * self.mlp_ratio)

    @property
    def out_channels(self) -> int:
        """Channels of the network's output, those without use included."""
        return self.in_channels * (2 if self.learn_sigma else 1)

    @property
    def pixels(self) -> bool:
        """Whether samples are pictures; otherwise they are latents."""
        return self.in_channels in (1, 3)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> DiTConfig:
        """Reads options by name.

        Args:
            options: as `dataclasses.asdict` gives them.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or sizes that do not fit.
        """
        require_known(cls, options, "DiT")
        return cls(**options)
