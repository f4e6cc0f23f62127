"""How far the samples of tables are from what they should come near to."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.calibration.lean import Lean
from jax_stepcache.calibration.levels import Levels
from jax_stepcache.calibration.table_space import Moved, Space
from jax_stepcache.loop.denoise import walk
from jax_stepcache.loop.generation import Generation, tables_of
from jax_stepcache.loop.program import sampled
from jax_stepcache.solvers import SolverTable
from jax_stepcache.solvers.table import one_for_all


class Layout(NamedTuple):
    """How the outputs' tables make a schedule; static.

    Attributes:
        structure: the sample's.
        shared: whether the outputs share one schedule, and so their noise levels.
    """

    structure: Any
    shared: bool

    def schedule(self, tables: Sequence[SolverTable]) -> Any:
        """The tables of all outputs as what `sample` takes."""
        if self.shared:
            return one_for_all(tables, self.structure)
        return jax.tree.unflatten(self.structure, tables)


class Chunk(NamedTuple):
    """Some samples that are looked at together.

    Attributes:
        generation: with tables, its condition prepared and its noise drawn.
        reference: what they should come near to, as sampled.
    """

    generation: Generation
    reference: Any


def held_out_loss(
    spaces: tuple[Space | Levels, ...],
    moved: tuple[Moved, ...],
    layout: Layout,
    held_out: Sequence[Chunk],
    shares: jax.Array,
) -> float:
    """The loss of held-out samples, all together.

    Args:
        spaces: of each output.
        moved: how far their tables are moved.
        layout: how these make a schedule.
        held_out: the samples.
        shares: see `table_loss`.

    Returns:
        The loss.
    """
    near = around_all(spaces, moved)
    errors = [_table_errors(layout, near, moved, one) for one in held_out]
    return float(table_loss(jnp.concatenate(errors, axis=1), shares))


@jax.jit
def table_loss(errors: jax.Array, shares: jax.Array) -> jax.Array:
    """The loss: logarithms of mean squared errors, of each sample and of all.

    Args:
        errors: float32[outputs, samples].
        shares: float32[outputs, 2], what each of these two weighs.

    Returns:
        A float32 scalar.
    """
    # Far below any error that is seen; a sample without one is no infinity.
    errors = jnp.maximum(errors, 1e-30)
    each, whole = jnp.log(errors).mean(axis=1), jnp.log(errors.mean(axis=1))
    return (shares * jnp.stack([each, whole], axis=1)).sum()


@functools.partial(jax.jit, static_argnums=0)
def _table_errors(layout: Layout, spaces: Any, moved: Any, chunk: Chunk) -> jax.Array:
    return mean_squares(table_ends(layout, spaces, moved, chunk))


def around_all(spaces: Any, moved: Any) -> Any:
    """The spaces of all outputs, as they are where their tables are moved."""
    pairs = zip(spaces, moved, strict=True)
    return tuple(space.around(one) for space, one in pairs)


def table_ends(
    layout: Layout, spaces: Any, moved: Any, chunk: Chunk, remat: bool = False
) -> list[jax.Array]:
    """What tables sample, less what it should come near to.

    Args:
        layout: how the tables make a schedule.
        spaces: of each output, around the move.
        moved: how far their tables are moved.
        chunk: the samples.
        remat: whether a derivative calls the network again, block by block.

    Returns:
        For each output, float32[samples, ...].
    """
    tables = [space.table(one) for space, one in zip(spaces, moved, strict=True)]
    schedule = layout.schedule(tables)

    def loop(*of: Any, **given: Any) -> Any:
        return walk(*of, **given)[0]

    program = chunk.generation.program
    if remat:
        program = program._replace(model=Lean(program.model))
    generation = replace(chunk.generation, program=program, tables=tables_of(schedule))
    end = sampled(generation, loop=loop).sample
    pairs = zip(jax.tree.leaves(end), jax.tree.leaves(chunk.reference), strict=True)
    return [a.astype(jnp.float32) - b.astype(jnp.float32) for a, b in pairs]


def mean_squares(errors: Sequence[jax.Array]) -> jax.Array:
    """Mean squares of each sample's errors, float32[outputs, samples]."""
    each = [jnp.square(x.reshape(len(x), -1)).mean(axis=1) for x in errors]
    return jnp.stack(each)
