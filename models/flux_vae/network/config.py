"""The sizes of FLUX's autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jax_stepcache.errors import unknown_name

from ...sizes.counts import DTYPES, require_count
from ...sizes.options import require_known

EPS = 1e-6
"""Added to the variance in all normalisations."""


@dataclass(frozen=True)
class FluxVAEConfig:
    """Sizes of the autoencoder, under diffusers' names.

    Hashable, so that it may be a static argument of a jitted function. The defaults
    are those of the release.

    Attributes:
        block_out_channels: width of each level; each but the last halves rows and
            columns.
        layers_per_block: residual blocks of a level; the decoder has one more.
        latent_channels: channels of a latent.
        norm_num_groups: of the normalisations; they divide all widths.
        in_channels: channels of a picture.
        scaling_factor: what latents are multiplied by, once they are shifted.
        shift_factor: what is taken from them before.
        dtype: name of the dtype of activations; weights keep their own.
    """

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    latent_channels: int = 16
    norm_num_groups: int = 32
    in_channels: int = 3
    scaling_factor: float = 0.3611
    shift_factor: float = 0.1159
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in ("layers_per_block", "latent_channels", "norm_num_groups"):
            require_count(name, getattr(self, name))
        require_count("in_channels", self.in_channels)
        if not self.block_out_channels:
            raise ValueError("block_out_channels is empty; give each level's width")
        for width in self.block_out_channels:
            require_count("block_out_channels", width)
            if width % self.norm_num_groups:
                raise ValueError(
                    f"norm_num_groups must divide all widths, got "
                    f"{self.norm_num_groups} and {width}"
                )
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))

    @property
    def stride(self) -> int:
        """Pixels of a latent, in rows and in columns."""
        return 2 ** (len(self.block_out_channels) - 1)

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> FluxVAEConfig:
        """Reads options by name.

        Args:
            options: as `dataclasses.asdict` gives them.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or sizes that do not fit.
        """
        require_known(cls, options, "FLUX's autoencoder")
        given = dict(options)
        if "block_out_channels" in given:
            given["block_out_channels"] = tuple(given["block_out_channels"])
        return cls(**given)


CONFIGS: Mapping[str, FluxVAEConfig] = MappingProxyType(
    {"flux-vae": FluxVAEConfig(dtype="bfloat16")}
)
"""The released size, by name."""
