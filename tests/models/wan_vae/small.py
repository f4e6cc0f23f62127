"""VAEs small enough to compile in a second, of both kinds, and what they take."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from jax_stepcache.models.sizes.parameters import Weights
from jax_stepcache.models.wan_vae import WanVAEConfig, init_weights

# Time halved twice, as in the released sizes, and one level less.
OF_21 = WanVAEConfig(
    dim=2,
    z_dim=3,
    dim_mult=(1, 2, 2),
    num_res_blocks=1,
    temperal_downsample=(True, True),
    latents_mean=(0.1, -0.2, 0.3),
    latents_std=(0.5, 1.5, 2.0),
)
OF_22 = replace(OF_21, dec_dim=2)
KINDS = {"2.1": OF_21, "2.2": OF_22}
# Half as many rows and columns, and all frames.
OF_PICTURES = replace(OF_21, dim_mult=(1, 1), temperal_downsample=(False,))


@lru_cache(maxsize=4)
def weights_of(config: WanVAEConfig) -> Weights:
    """Drawn ones, and nothing left at zero that may be."""
    drawn = init_weights(config, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(np.float32), drawn
    )


def video_of(
    config: WanVAEConfig, frames: int, batch: int = 1, rows: int = 2, columns: int = 1
) -> np.ndarray:
    """Noise in [-1, 1], so many rows and columns of latents."""
    stride = config.spatial_stride
    shape = (batch, 3, frames, rows * stride, columns * stride)
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def latents_of(
    config: WanVAEConfig, frames: int, batch: int = 1, rows: int = 2, columns: int = 1
) -> np.ndarray:
    """Normal noise."""
    shape = (batch, config.z_dim, frames, rows, columns)
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


def assert_same(one: Any, other: Any, atol: float = 1e-5) -> None:
    assert np.shape(one) == np.shape(other)
    np.testing.assert_allclose(one, other, atol=atol, rtol=0)
