"""A part of a picture, from its middle."""

from __future__ import annotations

from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class CentreCrop:
    """Keeps the middle of pictures.

    Attributes:
        fraction: of rows and of columns that are kept, truncated to whole ones.
    """

    fraction: float

    def __post_init__(self) -> None:
        """Checks the fraction.

        Raises:
            ValueError: if it is not in (0, 1].
        """
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; it must be in (0, 1]")

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Crops.

        Args:
            pictures: (..., H, W, C).

        Returns:
            (..., int(fraction * H), int(fraction * W), C), half of what is cut off
            before it and half behind; where that is odd, the half is rounded to even.
        """
        rows, columns = (
            _middle(whole, self.fraction) for whole in pictures.shape[-3:-1]
        )
        return pictures[..., rows, columns, :]


def _middle(whole: int, fraction: float) -> slice:
    kept = max(int(fraction * whole), 1)
    start = round((whole - kept) / 2)  # half to even, as torchvision's
    return slice(start, start + kept)
