"""Pictures to what a diffusion transformer sees of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_floating
from jax_stepcache.meshes.explicit import under_automatic_axes

from .network.config import CLIPVisionConfig
from .network.logical_axes import by_rows
from .network.parameters import bind

# Of a host's floats: a little more than a resize that overshoots gives.
_MOST = 2.0


def encode(config: CLIPVisionConfig, weights: Any, pictures: Any) -> jax.Array:
    """Looks at pictures of any size.

    Pure, so it may stand inside another `jax.jit`; by itself, a call is one compiled
    program for each configuration and each shape, the resize included.

    Args:
        config: the encoder's.
        weights: as from `init_weights` or `load_params`; any floating dtype.
        pictures: (B, H, W, 3) uint8, which costs a quarter of the way to the device; or
            floats in [-1, 1].

    Returns:
        Features (B, 1 + patches, dim) in the configuration's dtype: all tokens before
        the last block, that of the class first.

    Raises:
        ValueError: for pictures of another shape, dtype or range, or foreign weights.
    """
    check_pictures(pictures)
    return _encode(config, weights, jnp.asarray(pictures))


def check_pictures(pictures: Any) -> None:
    """Checks pictures before anything is compiled; floats of the host by their range.

    Args:
        pictures: (B, H, W, 3).

    Raises:
        ValueError: naming what is wrong, what came and what is wanted.
    """
    shape = np.shape(pictures)
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise ValueError(
            f"pictures have shape {shape}; give (B, rows, columns, 3), channels last"
        )
    dtype = jax.dtypes.result_type(pictures)
    if dtype == jnp.uint8:
        return
    if dtype.kind in "iub":
        raise ValueError(
            f"pictures have dtype {dtype}; give uint8, or floats in [-1, 1]"
        )
    check_floating(pictures, "pictures")
    if isinstance(pictures, np.ndarray) and not np.abs(pictures).max() <= _MOST:
        raise ValueError(
            f"pictures go from {pictures.min():.4g} to {pictures.max():.4g}; give "
            "uint8, or floats in [-1, 1]: pixels / 127.5 - 1"
        )


@partial(jax.jit, static_argnames="config")
def _encode(config: CLIPVisionConfig, weights: Any, pictures: jax.Array) -> jax.Array:
    def run(given: Any) -> jax.Array:
        weights, pictures = given
        if pictures.dtype == jnp.uint8:
            pictures = pictures.astype(jnp.float32) / 127.5 - 1.0
        return bind(config, weights)(pictures)

    return under_automatic_axes(run, (weights, pictures), by_rows)
