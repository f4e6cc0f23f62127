"""FasterCache's weights of low and high frequencies, of what CFG-Cache reuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import wide
from jax_stepcache.policy.signals.spectrum import over

# Height and width of a picture or of a film's frames.
_AXES = (-3, -2)


@register_dataclass
@dataclass(frozen=True)
class FrequencyWeights:
    """What low and high frequencies are taken times at a step.

    Attributes:
        weights: float32[2], of the low ones and of the others.
        low: float32[2], timesteps between which the first holds, both exclusive.
        high: float32[2], likewise the second.
    """

    weights: ArrayLike
    low: ArrayLike
    high: ArrayLike

    def at(self, timestep: jax.Array) -> jax.Array:
        """The weights at a timestep, float32[2]; 1 where they do not hold."""
        ranges = jnp.stack([jnp.asarray(x, jnp.float32) for x in (self.low, self.high)])
        holds = (ranges[:, 0] < timestep) & (timestep < ranges[:, 1])
        return jnp.where(holds, jnp.asarray(self.weights, jnp.float32), 1.0)


def check_pictures(leaves: Sequence[Any]) -> None:
    """Checks that something has frequencies to weigh.

    Raises:
        ValueError: if no output has height and width.
    """
    if not any(x.ndim > 3 for x in leaves):
        shapes = [tuple(x.shape) for x in leaves]
        raise ValueError(
            "alpha_low_frequency and alpha_high_frequency weigh the frequencies of "
            f"[..., height, width, channels] arrays; the sample has {shapes}"
        )


def weighted(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """Weighs frequencies of pictures.

    Low ones lie within a fifth of the shorter side from the mean, rounded down.

    Args:
        x: [..., height, width, channels]; of fewer axes it stays as it is.
        low: float32 scalar, the weight of the low ones.
        high: float32 scalar, that of the others.

    Returns:
        An array like ``x``.
    """
    if x.ndim < 4:
        return x
    height, width = (x.shape[axis] for axis in _AXES)
    radius = min(height, width) // 5
    rows, columns = (np.fft.fftfreq(n, 1 / n) for n in (height, width))
    near = rows[:, None] ** 2 + columns[None] ** 2 <= radius**2
    spectrum = over(jnp.fft.fftn, wide(x), _AXES)
    weights = jnp.where(near[..., None], low, high)
    spectrum *= weights.astype(spectrum.dtype)
    return over(jnp.fft.ifftn, spectrum, _AXES).real.astype(x.dtype)
