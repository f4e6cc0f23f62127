"""Arrays of others, as they are now: whoever reads one after a call has returned."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

# From here on copies take longer than what a call gains by returning early.
_LARGE_BYTES = 1 << 20


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


def better_waited_for(tree: Any) -> bool:
    """Whether to wait for who reads a tree is quicker than `kept`, which copies it.

    A network's weights, as NumPy arrays, were copied whole at every call: as much as
    several skipped steps take together.

    Args:
        tree: any pytree.

    Returns:
        Whether there are large NumPy arrays in it, and no trace is under way: a trace
        holds on to them, and what it makes cannot be waited for.
    """
    leaves = jax.tree.leaves(tree)
    if not any(issubclass(kind, np.ndarray) for kind in set(map(type, leaves))):
        return False
    size = sum(x.nbytes for x in leaves if isinstance(x, np.ndarray))
    return size >= _LARGE_BYTES and not isinstance(jnp.zeros(()), Tracer)
