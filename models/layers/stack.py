"""Blocks one after another, their weights stacked along a leading axis or kept apart.

What belongs to the blocks, weights and what is cached for each, is a pytree of
[blocks, ...] arrays, or the same tree with `Layers`, one array a block, in place of
each. Stacked, the blocks are one `lax.scan`: a small program, which is what training
and CPUs want. But a scan hands each block a copy of its slices, which on a GPU costs as
much time as reading the weights does; apart, each block reads its own arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jax_stepcache.checkpoints.layers import Layers, are_apart, is_apart
from jax_stepcache.meshes.varying import scan


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
    parts: Any,
    start: int = 0,
    stop: int | None = None,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Sends something through some of the blocks.

    Args:
        block: ``(x, its part of parts) -> (x, what to keep of it)``.
        x: what goes in.
        parts: what belongs to the blocks; one `lax.scan` runs them where all of it is
            stacked.
        start: the first block; a Python integer, as is ``stop``.
        stop: the block to stop before; all of them unless given.
        unroll: of the scan.

    Returns:
        What comes out, and what was kept: [stop - start, ...] arrays, or tuples of as
        many, as ``parts`` are.
    """
    count = len(jax.tree.leaves(parts, is_leaf=is_apart)[0])
    stop = count if stop is None else stop
    if are_apart(parts):
        kept = []
        for i in range(start, stop):
            x, one = block(x, block_of(parts, i))
            kept.append(one)
        return x, jax.tree.map(lambda *each: Layers(each), *kept) if kept else None
    if (start, stop) == (0, count):
        # The gradient of an index into the stack would be as large as the stack.
        return scan(block, x, parts, count, unroll)

    def by_index(x: Any, i: jax.Array) -> tuple[Any, Any]:
        # A slice of the stacked weights would be a copy of them.
        return block(x, block_of(parts, i))

    return scan(by_index, x, jnp.arange(start, stop), stop - start, unroll)


def block_of(parts: Any, i: jax.Array | int) -> Any:
    """The part of one block; a Python integer says which, where they are apart."""

    def part(x: Any) -> Any:
        if is_apart(x):
            return x[i]
        return jax.lax.dynamic_index_in_dim(x, i, keepdims=False)

    return jax.tree.map(part, parts, is_leaf=is_apart)


def shape_of_one(x: Any) -> tuple[int, ...]:
    """The shape of one block's array, of arrays or structs."""
    return x[0].shape if is_apart(x) else x.shape[1:]


def for_each(function: Callable[..., Any], *parts: Any) -> Any:
    """Applies a function to each block's array, of all parts alike.

    Args:
        function: of one block's arrays. Where they are stacked it is applied to all
            blocks at once, by `jax.vmap`.
        *parts: trees of the same structure.

    Returns:
        A tree like the first, of what the function returns.
    """

    def each(*xs: Any) -> Any:
        if is_apart(xs[0]):
            return Layers(function(*one) for one in zip(*xs, strict=True))
        return jax.vmap(function)(*xs)

    return jax.tree.map(each, *parts, is_leaf=is_apart)
