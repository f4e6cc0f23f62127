"""Checks of what users hand in, before anything is compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check_arrays(given: Any, wanted: Any, what: str) -> None:
    """Compares structure, shapes and dtypes with what a model takes.

    Floats of any width do for floats, integers of any width for integers.

    Args:
        given: pytree of arrays.
        wanted: pytree of `jax.ShapeDtypeStruct`.
        what: the name of the argument, for the error.

    Raises:
        ValueError: at the first difference, with both sides of it.
    """
    if isinstance(wanted, jax.ShapeDtypeStruct) and not hasattr(given, "shape"):
        raise ValueError(
            f"{what} is a {type(given).__name__}; give an array of shape {wanted.shape}"
        )
    given_structure, structure = jax.tree.structure(given), jax.tree.structure(wanted)
    if given_structure != structure:
        raise ValueError(
            f"{what} has structure {given_structure}; the model takes {structure}"
        )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(given), jax.tree.leaves(wanted), strict=True
    )
    for (path, array), like in pairs:
        name = what + jax.tree_util.keystr(path)
        shape, dtype = np.shape(array), jnp.result_type(array)
        if shape != like.shape:
            raise ValueError(f"{name} has shape {shape}; the model takes {like.shape}")
        kind = jnp.floating if jnp.issubdtype(like.dtype, jnp.floating) else jnp.integer
        if not jnp.issubdtype(dtype, kind):
            raise ValueError(f"{name} has dtype {dtype}; the model takes {like.dtype}")


def batch_size(tree: Any, what: str) -> int:
    """The leading dimension that all arrays of a tree share.

    Raises:
        ValueError: if there is no array, or they do not share one.
    """
    shapes = [np.shape(x) for x in jax.tree.leaves(tree)]
    sizes = {shape[0] if shape else None for shape in shapes}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            f"{what} has arrays of shapes {shapes}; all need the same leading batch "
            "dimension"
        )
    size = sizes.pop()
    if not size:
        raise ValueError(f"{what} has a batch of 0; there is nothing to sample")
    return size


def check_floating(tree: Any, what: str) -> None:
    """Checks that every array of a tree holds floats.

    Raises:
        ValueError: naming the one that does not.
    """
    for path, array in jax.tree_util.tree_leaves_with_path(tree):
        dtype = jnp.result_type(array)
        if not jnp.issubdtype(dtype, jnp.floating):
            name = what + jax.tree_util.keystr(path)
            raise ValueError(f"{name} has dtype {dtype}; it must be floating point")
