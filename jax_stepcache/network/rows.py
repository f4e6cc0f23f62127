"""Rows of a batch in trees whose arrays do not all have them along the same axis.

A network's condition may hold keys and values as (layers, rows, ...), and what its
blocks read besides the tokens is of any shape. So the axis is found, not assumed: the
shapes for one batch size are compared with those for another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Each leaf's axis of rows, in leaf order; None where its shape does not depend on them.
RowAxes = tuple[int | None, ...]


def row_axes(some: Any, more: Any, counts: tuple[int, int]) -> RowAxes:
    """Finds the rows by comparing shapes for two numbers of them.

    Args:
        some: pytree of arrays or structs for a number of rows. Leaves without a shape,
            as Python numbers, have none.
        more: the same for another number.
        counts: the two numbers.

    Returns:
        The axis of each leaf.

    Raises:
        ValueError: if the trees differ otherwise, or not just by the length of one axis
            of a leaf, which is the number of rows.
    """
    if jax.tree.structure(some) != jax.tree.structure(more):
        raise ValueError("the structure depends on the number of rows")
    axes = []
    for a, b in zip(jax.tree.leaves(some), jax.tree.leaves(more), strict=True):
        shapes = [getattr(x, "shape", ()) for x in (a, b)]
        pairs = zip(*shapes, strict=False)
        differ = [i for i, (m, n) in enumerate(pairs) if m != n]
        lengths = {(shapes[0][i], shapes[1][i]) for i in differ}
        odd = len(differ) > 1 or not lengths <= {counts}
        if len(shapes[0]) != len(shapes[1]) or odd:
            raise ValueError(
                f"shapes {shapes[0]} and {shapes[1]} for {counts[0]} and {counts[1]} "
                "rows; which axis holds the rows cannot be told"
            )
        axes.append(differ[0] if differ else None)
    return tuple(axes)


def leading_axes(tree: Any) -> RowAxes:
    """The axes of a tree whose arrays all have their rows first."""
    return (0,) * len(jax.tree.leaves(tree))


def with_rows(tree: Any, axes: RowAxes, rows: int) -> Any:
    """Structs of a tree for another number of rows."""

    def struct(x: Any, axis: int | None) -> jax.ShapeDtypeStruct:
        shape = list(x.shape)
        if axis is not None:
            shape[axis] = rows
        return jax.ShapeDtypeStruct(tuple(shape), x.dtype)

    return _map(struct, tree, axes)


def take_rows(tree: Any, axes: RowAxes, index: jax.Array) -> Any:
    """Picks rows of every array; an index past the end takes the last one."""
    return _map(
        lambda x, axis: x if axis is None else jnp.take(x, index, axis, mode="clip"),
        tree,
        axes,
    )


def slice_rows(tree: Any, axes: RowAxes, start: jax.Array, count: int) -> Any:
    """Rows of every array that lie one after the other, from ``start`` on."""

    def cut(x: Any, axis: int | None) -> Any:
        if axis is None:
            return x
        return jax.lax.dynamic_slice_in_dim(x, start, count, axis)

    return _map(cut, tree, axes)


def put_rows(tree: Any, axes: RowAxes, index: jax.Array, rows: Any) -> Any:
    """Overwrites rows; an index past the end is left out.

    Args:
        tree: pytree of arrays.
        axes: their axes of rows. Arrays without are taken from ``rows`` as a whole.
        index: int32[n], which rows.
        rows: the same structure, with n rows.

    Returns:
        The tree.
    """
    given = iter(jax.tree.leaves(rows))

    def put(x: Any, axis: int | None) -> Any:
        new = next(given)
        if axis is None:
            return new
        at = (slice(None),) * axis + (index,)
        return x.at[at].set(new.astype(x.dtype), mode="drop")

    return _map(put, tree, axes)


def stack_rows(tree: Any, others: Sequence[Any], axes: RowAxes) -> Any:
    """Stacks the rows of two trees, the first one's first.

    Args:
        tree: pytree of arrays.
        others: the other's arrays in leaf order; None where both have the same.
        axes: the axes of rows. Arrays without are there once.

    Returns:
        The tree.
    """
    given = iter(others)

    def stack(x: Any, axis: int | None) -> Any:
        other = next(given)
        if axis is None:
            return x
        return jnp.concatenate([x, x if other is None else other], axis)

    return _map(stack, tree, axes)


def rows_side_by_side(tree: Any, axes: RowAxes) -> Any:
    """Lays the rows of several trees out as those of one batch.

    Args:
        tree: pytree of arrays with a leading axis of trees.
        axes: the axes of rows, of an array without that axis. Those of arrays without
            rows are the first tree's.

    Returns:
        The tree: the first row of each, then the second of each, and so on.
    """

    def lay(x: Any, axis: int | None) -> Any:
        if axis is None:
            return x[0]
        x = jnp.moveaxis(x, 0, axis + 1)
        shape = list(x.shape)
        shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
        return x.reshape(shape)

    return _map(lay, tree, axes)


def _map(function: Any, tree: Any, axes: RowAxes) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    mapped = [function(x, axis) for x, axis in zip(leaves, axes, strict=True)]
    return jax.tree.unflatten(structure, mapped)
