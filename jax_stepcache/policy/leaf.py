"""A policy's numbers, as leaves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike


def leaf(number: Any, dtype: DTypeLike) -> jax.Array | np.ndarray:
    """Makes an array of a setting: a number, a row of them, or what is one already.

    What comes from the host stays there until the compiled call takes it along: an
    operation on the device for each number took as long as all checks together.

    Args:
        number: the setting; may be traced, or hold what is traced.
        dtype: the array's.

    Returns:
        The array, NumPy's where nothing of it is on a device.
    """
    if any(isinstance(x, jax.Array) for x in jax.tree.leaves(number)):
        return jnp.asarray(number, dtype)
    # A copy: the policy outlives the call.
    return np.array(number, dtype)
