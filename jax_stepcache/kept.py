"""Arrays of others, as they are now: whoever reads one after a call has returned."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np


def kept(tree: Any) -> Any:
    """What was given, with copies of the NumPy arrays in it.

    A caller may fill the same buffer again as soon as a call has returned, while what
    was asked still waits or runs: `jax.jit` itself returns before it has run, and on a
    CPU reads the caller's own memory. JAX's arrays do not change, and stay as they are.

    Args:
        tree: any pytree; what is no array is left alone.

    Returns:
        The same tree, where no NumPy array is in it; else one like it.
    """
    # By types: a thousand weights have one among them, and are looked at in each call.
    kinds = set(map(type, jax.tree.leaves(tree)))
    if not any(issubclass(kind, np.ndarray) for kind in kinds):
        return tree
    copies: dict[int, np.ndarray] = {}

    def keep(x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        # One object stays one: what two branches share is told by that.
        return copies.setdefault(id(x), np.array(x))

    return jax.tree.map(keep, tree)
