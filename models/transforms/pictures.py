"""Pictures of whole numbers as floats, and back."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True)
class FromUint8:
    """uint8 pictures as float32 in [0, 1]; the inverse of `ToUint8`."""

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Divides by 255, correctly rounded.

        Args:
            pictures: uint8, any shape.

        Returns:
            float32 in [0, 1].
        """
        # Looked up: XLA makes a product of a division by a constant, and GPUs round
        # neither as the original does. Its last bit decides what is truncated.
        return jnp.asarray(_LEVELS)[pictures]

    @property
    def inverse(self) -> ToUint8:
        """To whole numbers, exact for what came from them."""
        return ToUint8()


@dataclass(frozen=True)
class ToUint8:
    """Pictures in [0, 1] as uint8: times 255 and truncated, as in DreamZero's original.

    Truncation and the last bit before it are part of what a network was trained on; a
    multiple of 1/255 that `FromUint8` gave comes back as it was.
    """

    def __call__(self, pictures: jax.Array) -> jax.Array:
        """Truncates.

        Args:
            pictures: floats in [0, 1], any shape.

        Returns:
            uint8.
        """
        return (pictures * jnp.float32(255)).astype(jnp.uint8)

    @property
    def inverse(self) -> FromUint8:
        """To floats; what was truncated is gone."""
        return FromUint8()
