"""Tokens of image and text, and what belongs to all of them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...layers.rotary import Rotation, axis_angles
from ..sizes import FluxConfig


class Streams(NamedTuple):
    """What flows through the blocks. Signals of caches look at the image's tokens.

    Attributes:
        image: (B, S, D).
        text: (B, T, D).
    """

    image: jax.Array
    text: jax.Array

    @property
    def looked_at(self) -> jax.Array:
        """See `jax_stepcache.policy.signals.base.looked_at`: the image's tokens."""
        return self.image

    def joined(self) -> jax.Array:
        """(B, T + S, D), the text first."""
        return jnp.concatenate([self.text, self.image], axis=1)


def split(joined: jax.Array, text: int) -> Streams:
    """The inverse of `Streams.joined`, of so many tokens of text."""
    return Streams(joined[:, text:], joined[:, :text])


def ids(grid: tuple[int, int], text: int) -> np.ndarray:
    """Positions of tokens, (T + S, 3): rows and columns of the image, 0 of the text.

    Args:
        grid: rows and columns of the image's tokens.
        text: tokens of the text.
    """
    rows, cols = grid
    image = np.zeros((rows, cols, 3), int)
    image[..., 1], image[..., 2] = np.arange(rows)[:, None], np.arange(cols)
    return np.concatenate([np.zeros((text, 3), int), image.reshape(-1, 3)])


def rotation_of(config: FluxConfig, grid: tuple[int, int], text: int) -> Rotation:
    """The rotation of all tokens, the text first; of a batch of 1."""
    places = ids(grid, text)
    angles = np.concatenate(
        [
            axis_angles(places[:, axis], channels)
            for axis, channels in enumerate(config.axes_dims_rope)
        ],
        axis=-1,
    )[None]
    return Rotation(jnp.asarray(np.cos(angles)), jnp.asarray(np.sin(angles)))
