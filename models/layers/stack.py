"""Blocks whose weights are stacked along a leading axis: one program for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


def stacked_blocks(
    make: Callable[[nnx.Rngs], nnx.Module], depth: int, rngs: nnx.Rngs
) -> Any:
    """Draws blocks, each from a key of its own.

    Args:
        make: makes one of them.
        depth: how many.
        rngs: gives the keys.

    Returns:
        A module like one block, each of its parameters with a leading layer axis.
    """
    keys = jax.random.split(rngs.params(), depth)
    return nnx.vmap(lambda key: make(nnx.Rngs(key)))(keys)


def run_stack(
    block: Callable[[Any, Any], tuple[Any, Any]],
    x: Any,
    stacked: Any,
    start: int,
    stop: int,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Sends something through some of the blocks, as one `lax.scan`.

    Args:
        block: ``(x, its part of stacked) -> (x, what to keep of it)``.
        x: what goes in.
        stacked: pytree of [blocks, ...] arrays.
        start: the first block; a Python integer, as is ``stop``.
        stop: the block to stop before.
        unroll: of the scan.

    Returns:
        What comes out, and what was kept, [stop - start, ...] arrays.
    """
    count = jax.tree.leaves(stacked)[0].shape[0]
    if (start, stop) == (0, count):
        # The gradient of an index into the stack would be as large as the stack.
        return jax.lax.scan(block, x, stacked, unroll=unroll)

    def by_index(x: Any, i: jax.Array) -> tuple[Any, Any]:
        # A slice of the stacked weights would be a copy of them.
        return block(x, block_of(stacked, i))

    return jax.lax.scan(by_index, x, jnp.arange(start, stop), unroll=unroll)


def block_of(stacked: Any, i: jax.Array | int) -> Any:
    """The part of one block."""
    return jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), stacked
    )
