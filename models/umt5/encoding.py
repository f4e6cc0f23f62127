"""Tokens to what a diffusion transformer reads of a prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import fetched
from jax_stepcache.meshes.explicit import under_automatic_axes

from .network.config import UMT5Config
from .network.logical_axes import by_rows
from .network.parameters import bind


def encode(config: UMT5Config, weights: Any, ids: Any, mask: Any) -> jax.Array:
    """Encodes prompts; rows past a prompt's length are zero.

    Pure, so it may stand inside another `jax.jit`; by itself, a call is one compiled
    program for each configuration and each shape. The length of a prompt is its own:
    the original cuts a batch at the shortest.

    Args:
        config: the encoder's.
        weights: as from `init_weights` or `load_params`; any floating dtype.
        ids: (B, L) int tokens, as from `Tokenizer`.
        mask: (B, L) ints or bools, nonzero for the tokens of a prompt, which are in
            front.

    Returns:
        (B, L, dim) in the configuration's dtype.

    Raises:
        ValueError: for tokens or a mask of another shape or dtype, tokens that there
            are not, or foreign weights.
    """
    check_tokens(config, ids, mask)
    return _encode(config, weights, jnp.asarray(ids), jnp.asarray(mask))


def check_tokens(config: Any, ids: Any, mask: Any) -> None:
    """Checks tokens before anything is compiled.

    Those that are traced, or partly in other processes, are looked at no further than
    their shape.

    Args:
        config: the encoder's, with how many tokens it knows, ``vocab``.
        ids: (B, L) int.
        mask: (B, L) int or bool.

    Raises:
        ValueError: naming what is wrong, what came and what is wanted.
    """
    shape = np.shape(ids)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"ids has shape {shape}; give (prompts, tokens)")
    if np.shape(mask) != shape:
        raise ValueError(f"mask has shape {np.shape(mask)}; ids has {shape}")
    for name, array, kinds in (("ids", ids, "iu"), ("mask", mask, "iub")):
        dtype = jax.dtypes.result_type(array)
        if dtype.kind not in kinds:
            raise ValueError(f"{name} has dtype {dtype}; it must be of integers")
    if isinstance(ids, Tracer) or not getattr(ids, "is_fully_addressable", True):
        return
    here = np.asarray(fetched(ids))
    if here.min() < 0 or here.max() >= config.vocab:
        raise ValueError(
            f"ids go from {here.min()} to {here.max()}; the encoder has tokens 0 to "
            f"{config.vocab - 1}: is it another tokenizer's?"
        )


@partial(jax.jit, static_argnames="config")
def _encode(
    config: UMT5Config, weights: Any, ids: jax.Array, mask: jax.Array
) -> jax.Array:
    def run(given: Any) -> jax.Array:
        weights, ids, mask = given
        return bind(config, weights).prompt(ids, mask != 0)

    return under_automatic_axes(run, (weights, ids, mask), by_rows)
