"""The guidance scale that is asked for: one number, or one for each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax.core import Tracer

from jax_stepcache.check import batch_size, check_numbers
from jax_stepcache.policy.leaf import leaf


def scale_of(given: Any) -> Any:
    """A guidance scale as an array.

    Args:
        given: one number, or one for each sample; may be traced.

    Returns:
        float32 scalar or float32[batch].

    Raises:
        ValueError: if it is neither.
    """
    if not isinstance(given, Tracer):
        shape = () if np.ndim(given) == 0 else (None,)
        check_scale(given, shape)
    scale = leaf(given, np.float32)
    return scale.reshape(()) if np.shape(scale) == (1,) else scale


def check_scale(given: Any, shape: tuple[int | None, ...] = ()) -> None:
    """Checks a scale that is not traced.

    Args:
        given: one number, or one for each sample.
        shape: which of them; see `check_numbers`.

    Raises:
        ValueError: if it is none, or not finite as the float32 that it becomes.
    """
    most = float(np.finfo(np.float32).max)
    check_numbers("guidance_scale", given, shape=shape, least=-most, most=most)


def check_scale_of_each(scale: Any, noise: Any, observation: Any) -> None:
    """Checks that there are as many scales as samples.

    Raises:
        ValueError: if there are more than one, and not as many.
    """
    if np.ndim(scale) == 0:
        return
    what, batch = ("observation", observation) if noise is None else ("noise", noise)
    rows = batch_size(batch, what)
    if np.shape(scale) != (rows,):
        raise ValueError(
            f"guidance_scale has shape {np.shape(scale)} and the {what} {rows} rows; "
            "give one number, or one for each sample"
        )
