"""The size and kind of a Wan VAE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jax_stepcache.errors import unknown_name

from ...sizes.counts import DTYPES, require_count
from ...sizes.options import require_known

PIECE = 4
"""Pixel frames that the encoder takes at a time, after the first one."""

_ROWS = ("dim_mult", "temperal_downsample", "latents_mean", "latents_std")


@dataclass(frozen=True)
class WanVAEConfig:
    """Sizes of a `WanVAE`, under the original's names.

    Hashable, so that it may be a static argument of a jitted function.

    Attributes:
        dim: width of the encoder; of the decoder too, unless ``dec_dim`` is given.
        z_dim: latent channels.
        dim_mult: the width of each level, in multiples; spatial halvings lie between
            levels, so there is one fewer of them.
        num_res_blocks: residual blocks in each level of the encoder; the decoder's have
            one more.
        temperal_downsample: whether time is halved too, for each spatial halving. At
            most two of them, for the encoder takes four frames at a time.
        dec_dim: width of the decoder. With it the VAE is of the kind of Wan 2.2: pixels
            are folded 2 x 2 into channels, and every level has a shortcut of averages
            or copies. Without it, of the kind of Wan 2.1.
        latents_mean: for each latent channel, what is taken off; zeros unless given.
        latents_std: for each latent channel, what is divided by; ones unless given.
        dtype: name of the dtype of activations, and of the slots of a stream; weights
            keep their own.
    """

    dim: int = 96
    z_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    dec_dim: int | None = None
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Rejects sizes that no forward could run with.

        Raises:
            ValueError: naming the field, its value and what is allowed.
        """
        for name in ("dim", "z_dim", "num_res_blocks"):
            require_count(name, getattr(self, name))
        if self.dec_dim is not None:
            require_count("dec_dim", self.dec_dim)
        if not self.dim_mult:
            raise ValueError("dim_mult is empty; give a multiple for each level")
        for i, multiple in enumerate(self.dim_mult):
            require_count(f"dim_mult[{i}]", multiple)
        if len(self.temperal_downsample) != len(self.dim_mult) - 1:
            raise ValueError(
                f"temperal_downsample has {len(self.temperal_downsample)} entries, and "
                f"dim_mult {len(self.dim_mult)} levels; between these are "
                f"{len(self.dim_mult) - 1} halvings, each of which needs one"
            )
        if sum(self.temperal_downsample) > 2:
            raise ValueError(
                f"temperal_downsample is {self.temperal_downsample}; at most two may "
                f"be true, for the encoder takes {PIECE} frames at a time"
            )
        for name in ("latents_mean", "latents_std"):
            given = getattr(self, name)
            if given and len(given) != self.z_dim:
                raise ValueError(
                    f"{name} has {len(given)} numbers; z_dim is {self.z_dim}"
                )
        if not all(value > 0 for value in self.latents_std):
            raise ValueError(f"latents_std must be positive, got {self.latents_std}")
        if self.dtype not in DTYPES:
            raise ValueError(unknown_name("dtype", self.dtype, DTYPES))
        self._check_widths()

    @property
    def residual(self) -> bool:
        """Whether it is of Wan 2.2's kind."""
        return self.dec_dim is not None

    @property
    def fold(self) -> int:
        """Rows and columns of pixels that are folded into channels."""
        return 2 if self.residual else 1

    @property
    def frame_channels(self) -> int:
        """Channels of a frame once it is folded."""
        return 3 * self.fold**2

    @property
    def spatial_stride(self) -> int:
        """Pixels to a latent, in rows and in columns."""
        return self.fold * 2 ** (len(self.dim_mult) - 1)

    @property
    def temporal_stride(self) -> int:
        """Frames to a latent one; the first latent frame has one frame only."""
        return 2 ** sum(self.temperal_downsample)

    @property
    def encoder_widths(self) -> tuple[int, ...]:
        """What the first convolution gives, then each level of the encoder."""
        return self.dim, *(self.dim * multiple for multiple in self.dim_mult)

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """What the first convolution gives, then each level of the decoder."""
        width = self.dim if self.dec_dim is None else self.dec_dim
        multiples = self.dim_mult[::-1]
        return tuple(width * multiple for multiple in (multiples[0], *multiples))

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> WanVAEConfig:
        """Reads options under the fields' names, as JSON has them.

        Args:
            options: names and values; lists do for tuples.

        Returns:
            The configuration.

        Raises:
            ValueError: for a name that is not known, or an impossible value.
        """
        require_known(cls, options, "a Wan VAE")
        given: dict[str, Any] = dict(options)
        given |= {name: tuple(given[name]) for name in _ROWS if name in given}
        return cls(**given)

    def _check_widths(self) -> None:
        """Halvings and shortcuts need widths that divide."""
        widths = self.decoder_widths
        if not self.residual:
            for i, width in enumerate(widths[1:-1]):
                if width % 2:
                    raise ValueError(
                        f"level {i} of the decoder has width {width}; it is halved on "
                        "the way to the next, so it must be even"
                    )
            return
        ways = zip(
            self.encoder_widths, self.encoder_widths[1:], self.halvings, strict=False
        )
        for i, (inside, out, halving) in enumerate(ways):
            if (inside * halving.cells) % out:
                raise ValueError(
                    f"level {i} of the encoder averages {inside} channels x "
                    f"{halving.cells} places into {out}, which must divide them"
                )
        back = zip(widths, widths[1:], self.doublings, strict=False)
        for i, (inside, out, doubling) in enumerate(back):
            if doubling.space == 2 and (out * doubling.cells) % inside:
                raise ValueError(
                    f"level {i} of the decoder copies {inside} channels into {out} x "
                    f"{doubling.cells} places, whose number they must divide"
                )

    @property
    def halvings(self) -> tuple[Factors, ...]:
        """How each level of the encoder makes its input smaller."""
        between = tuple(Factors(2 if t else 1, 2) for t in self.temperal_downsample)
        return (*between, Factors(1, 1))

    @property
    def doublings(self) -> tuple[Factors, ...]:
        """How each level of the decoder makes its input larger."""
        between = self.halvings[:-1]
        return (*between[::-1], Factors(1, 1))


@dataclass(frozen=True)
class Factors:
    """By how much a level changes the number of frames, and of rows and columns.

    Attributes:
        time: 1 or 2.
        space: 1 or 2.
    """

    time: int
    space: int

    @property
    def cells(self) -> int:
        """Places that become one, or that one becomes."""
        return self.time * self.space**2
