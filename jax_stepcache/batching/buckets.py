"""Run a part of a network on the rows that want it, gathered into a bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.meshes.varying import switch


def bucket_sizes(rows: int) -> tuple[int, ...]:
    """Row counts that are compiled: a quarter, a half and all of them."""
    return tuple(sorted({-(-rows // 4), -(-rows // 2), rows}))


def run_wanted(
    run: Callable[[jax.Array | None], Any],
    wanted: jax.Array,
    otherwise: Any,
    sizes: tuple[int, ...],
) -> Any:
    """Runs a function of rows on those that want it.

    Each bucket is a compiled copy of the function. Only the smallest that holds all who
    want it runs; none, where nobody does.

    Args:
        run: takes int32[n], which rows (None for all), to a pytree of [n, ...] arrays.
        wanted: bool[rows].
        otherwise: pytree of [rows, ...] arrays, the values of the other rows.
        sizes: of the buckets, see `bucket_sizes`; the largest holds all rows.

    Returns:
        A pytree like ``otherwise``.
    """
    rows = wanted.shape[0]
    count = wanted.sum(dtype=jnp.int32)
    # Those who want it first; whoever else fills the bucket up, its value is dropped.
    order = jnp.argsort(~wanted, stable=True)

    def bucket(size: int) -> Callable[[], Any]:
        def everyone() -> Any:
            def put(old: jax.Array, new: jax.Array) -> jax.Array:
                mask = wanted.reshape(-1, *(1,) * (old.ndim - 1))
                return jnp.where(mask, new.astype(old.dtype), old)

            return jax.tree.map(put, otherwise, run(None))

        def some() -> Any:
            index = order[:size]
            fits = jnp.arange(size, dtype=jnp.int32) < count
            at = jnp.where(fits, index, rows)
            return jax.tree.map(
                lambda old, new: old.at[at].set(new.astype(old.dtype), mode="drop"),
                otherwise,
                run(index),
            )

        return everyone if size == rows else some

    smallest = jnp.searchsorted(jnp.asarray(sizes, jnp.int32), count)
    which = jnp.where(count == 0, 0, 1 + smallest)
    return switch(which, [lambda: otherwise, *map(bucket, sizes)])
