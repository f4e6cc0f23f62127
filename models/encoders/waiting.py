"""Weights that wait on the host, and are on the devices while they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.errors import unknown_name
from jax_stepcache.processes import gathered


def parts_of(
    given: bool | str | Iterable[str], allowed: tuple[str, ...], usual: tuple[str, ...]
) -> tuple[str, ...]:
    """What is to wait.

    Args:
        given: names, one or several; True for the usual ones; False for none.
        allowed: the names that there are.
        usual: those that are large and seldom needed.

    Returns:
        The names.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(given, bool):
        return usual if given else ()
    parts = (given,) if isinstance(given, str) else tuple(given)
    for part in parts:
        if part not in allowed:
            raise ValueError(unknown_name("part to offload", part, allowed))
    return parts


def taken_away(weights: Any) -> tuple[Any, Any]:
    """Takes weights to the host.

    Args:
        weights: pytree of arrays.

    Returns:
        The same as NumPy arrays, and where each of them was, or would be: a tree of
        shardings, for `jax_stepcache.processes.put_all`.
    """
    places = jax.tree.map(lambda x: jnp.asarray(x).sharding, weights)
    return gathered(weights), places
