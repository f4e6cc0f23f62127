"""A network's guidance branches asked one after the other, those that want it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.meshes.explicit import together
from jax_stepcache.meshes.varying import cond, scan
from jax_stepcache.network.rows import RowAxes, slice_rows


def one_by_one(
    call: Callable[[Any], Any], shown: Any, axes: RowAxes, wanted: jax.Array
) -> Any:
    """Asks for each guidance branch by itself.

    One call site: a loop over branches, and a `cond` in it. A program that asked for
    one branch here and for both there would have the network in it twice.

    Args:
        call: takes what some rows are shown to their answers, [rows, ...] arrays.
        shown: pytree of arrays with the rows of all branches, the conditional first.
        axes: the rows of its arrays; None for what all share.
        wanted: bool[branches].

    Returns:
        The answers of all rows; zeros for a branch that is not wanted.
    """
    count = len(wanted)
    leaves = jax.tree.leaves(shown)
    rows = next(
        x.shape[axis] for x, axis in zip(leaves, axes, strict=True) if axis is not None
    )
    each = rows // count

    def ask(_: None, branch: jax.Array) -> tuple[None, Any]:
        some = slice_rows(shown, axes, branch * each, each)

        def leave() -> Any:
            like = jax.eval_shape(call, some)
            return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

        return None, cond(wanted[branch], lambda: call(some), leave)

    _, apart = scan(ask, None, jnp.arange(count, dtype=jnp.int32), length=count)
    return jax.tree.map(together, apart)
