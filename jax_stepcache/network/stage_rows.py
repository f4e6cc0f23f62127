"""Which arrays between the stages of a network hold rows, asked by tracing for shapes.

What blocks read besides the tokens is of any shape, and so is what TeaCache looks at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.network.rows import RowAxes, leading_axes, row_axes, with_rows

# What a context can hold that has rows, or certainly has none.
_KNOWN = (jax.Array, np.ndarray, np.generic, bool, int, float, complex, str, bytes)


class StageRows(NamedTuple):
    """Where rows are between the stages.

    Attributes:
        hidden: for each of its leaves the axis of rows; None where it cannot be told.
        context: for each of its leaves the axis of rows, None where all rows share it.
            None as a whole where that cannot be told, or where it holds something that
            arrays may be hidden in.
        modulated: the axis of what ``modulated`` gives, None where all rows share it.
    """

    hidden: RowAxes | None
    context: RowAxes | None
    modulated: int | None


def stage_rows(
    model: Any, weights: Any, sample: Any, t: Any, condition: Any, axes: RowAxes
) -> StageRows:
    """Asks a network in stages.

    Args:
        model: the network.
        weights: its weights.
        sample: pytree of [rows, ...] arrays, the rows of all branches.
        t: its timesteps, pytree of float32[rows].
        condition: likewise.
        axes: the rows of the condition's arrays.

    Returns:
        Where rows are. For a network that cannot be traced for another number of them,
        where the protocol says.
    """
    rows = jax.tree.leaves(sample)[0].shape[0]
    lengths = {n for x in jax.tree.leaves((sample, condition)) for n in jnp.shape(x)}
    more = next(n for n in range(rows + 1, rows + 2 + len(lengths)) if n not in lengths)
    opaque: list[Any] = []

    def ask(weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        hidden, context = model.embed(weights, sample, t, condition)
        leaves = jax.tree.leaves(context)
        opaque.extend(x for x in leaves if not isinstance(x, _KNOWN))
        shown = ()
        if getattr(model, "modulated", None) is not None:
            shown = model.modulated(weights, hidden, context)
        return hidden, [x if hasattr(x, "shape") else 0 for x in leaves], shown

    def asked(count: int) -> Any:
        given = (
            with_rows(sample, leading_axes(sample), count),
            with_rows(t, leading_axes(t), count),
            with_rows(condition, axes, count),
        )
        return jax.eval_shape(ask, weights, *given)

    some = asked(rows)
    try:
        many = asked(more)
    except Exception:
        # A network may raise anything where it is made for some numbers of rows only.
        return StageRows(leading_axes(some[0]), None, 0)
    hidden, context, shown = (
        _axes(a, b, (rows, more)) for a, b in zip(some, many, strict=True)
    )
    # Where its rows cannot be told, it is what it is documented to be.
    return StageRows(hidden, None if opaque else context, shown[0] if shown else 0)


def rows_first(x: jax.Array, axis: int | None, rows: int) -> jax.Array:
    """An array with its rows along the first axis.

    Args:
        x: the array.
        axis: where they are; None if all rows share it.
        rows: how many.
    """
    if axis is None:
        return jnp.broadcast_to(x, (rows, *x.shape))
    return jnp.moveaxis(x, axis, 0)


def _axes(some: Any, many: Any, counts: tuple[int, int]) -> RowAxes | None:
    try:
        return row_axes(some, many, counts)
    except ValueError:
        return None
