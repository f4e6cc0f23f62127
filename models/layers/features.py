"""Rows of features beside arrays that have them along the last of their axes."""

from __future__ import annotations

import jax
import numpy as np


def beside(features: jax.Array | np.ndarray, x: jax.Array) -> jax.Array | np.ndarray:
    """A row (features,) in the dtype of ``x`` and with as many axes.

    Told rather than left to broadcasting, which some code bases forbid
    (``jax_numpy_rank_promotion="raise"``).
    """
    return features.astype(x.dtype).reshape(*(1,) * (x.ndim - 1), -1)
