"""Tokens to what a diffusion transformer reads of a prompt."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..umt5.encoding import check_tokens
from .network.config import CLIPTextConfig
from .network.encoder import Encoded
from .network.parameters import bind


def encode(config: CLIPTextConfig, weights: Any, ids: Any) -> Encoded:
    """Encodes prompts.

    Pure, so it may stand inside another `jax.jit`; by itself, a call is one compiled
    program for each configuration and each shape.

    Args:
        config: the encoder's.
        weights: as from `init_weights` or `load_params`; any floating dtype.
        ids: (B, L) int tokens, as from `clip_tokenizer`.

    Returns:
        The prompts in the configuration's dtype.

    Raises:
        ValueError: for tokens of another shape or dtype, or that there are not; for
            more than the encoder has positions for; for foreign weights.
    """
    check_tokens(config, ids, np.ones(np.shape(ids), bool))
    if np.shape(ids)[1] > config.length:
        raise ValueError(
            f"ids has {np.shape(ids)[1]} tokens a row; the encoder takes up to "
            f"{config.length}"
        )
    return _encode(config, weights, jnp.asarray(ids))


@partial(jax.jit, static_argnames="config")
def _encode(config: CLIPTextConfig, weights: Any, ids: jax.Array) -> Encoded:
    return bind(config, weights)(ids)
