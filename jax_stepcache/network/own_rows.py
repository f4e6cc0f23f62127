"""Which arrays of a user's condition hold rows of the batch, and which all rows share.

Shapes alone do not tell: a table may have as many entries as the batch has rows. The
network does. It is traced for another number of rows; an array that it then takes as it
is has nothing to do with them.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import structs_of
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.rows import RowAxes, leading_axes, stack_rows, with_rows

# Traces that are spent on networks whose arrays have rows in odd places.
_MOST_TRIALS = 64


def own_axes(
    model: FunctionModel, weights: Any, condition: Any, sample: Any
) -> RowAxes:
    """Asks a network of the user's own, by tracing for shapes.

    Args:
        model: the network.
        weights: its weights.
        condition: of one branch, a pytree of arrays or structs.
        sample: pytree of [batch, ...] arrays or structs.

    Returns:
        For each array of the condition its axis of rows, None where all rows share it.
        Where the network cannot be traced for another number of rows, the first axis of
        each array that has as many entries.
    """
    if not jax.tree.leaves(condition):
        return ()
    leaves, structure = jax.tree.flatten(structs_of((weights, condition, sample)))
    return _found(model, structure, tuple(leaves))


def both_branches(
    model: FunctionModel,
    weights: Any,
    condition: Any,
    negative: Sequence[Any],
    sample: Any,
) -> Any:
    """Stacks the rows of two branches, the conditional ones first.

    Args:
        model: the network.
        weights: its weights.
        condition: of the conditional branch.
        negative: the other branch's arrays in order; None where the same object is in
            both.
        sample: pytree of [batch, ...] arrays.

    Returns:
        The condition of 2 * batch rows; what all rows share is there once.

    Raises:
        ValueError: for an array without rows, unless both branches have the same.
    """
    paths = jax.tree_util.tree_leaves_with_path(condition)
    batch = jax.tree.leaves(sample)[0].shape[0]
    axes = own_axes(model, weights, condition, sample)
    for i, ((path, x), other) in enumerate(zip(paths, negative, strict=True)):
        alone = axes[i] is None and other is not None
        if alone and _is_read(model, weights, condition, sample, i):
            raise ValueError(_no_rows(jax.tree_util.keystr(path), jnp.shape(x), batch))
    return stack_rows(condition, negative, axes)


def apart_from(condition: Any, negative: Any) -> tuple[Any, ...]:
    """The arrays of another branch, in order; None where both have the same object.

    Args:
        condition: of the conditional branch.
        negative: the same structure, of the other one.
    """
    pairs = zip(jax.tree.leaves(condition), jax.tree.leaves(negative), strict=True)
    return tuple(None if _same(a, b) else b for a, b in pairs)


def _same(a: Any, b: Any) -> bool:
    numbers = all(
        isinstance(x, bool | int | float | complex | np.generic) for x in (a, b)
    )
    return a is b or (numbers and type(a) is type(b) and bool(a == b))


def _no_rows(path: str, shape: tuple[int, ...], batch: int) -> str:
    if batch in shape:
        why = (
            f"the network takes condition{path} of shape {shape} as it is with another "
            f"number of rows than the noise's {batch}, so all rows read it"
        )
    else:
        why = f"condition{path} has shape {shape} and the noise {batch} rows"
    return (
        f"{why}; guidance stacks both branches along the batch. Give rows of the "
        "batch, or the same object in condition and negative_condition if all rows "
        "share it"
    )


class _Asked(NamedTuple):
    """A network, and structs of what it is given.

    Attributes:
        model: the network.
        weights: its weights.
        condition: of one branch.
        sample: pytree of [batch, ...] structs.
    """

    model: FunctionModel
    weights: Any
    condition: Any
    sample: Any

    def takes(
        self,
        axes: Sequence[int | None],
        rows: int,
        resized: tuple[int, int, int] | None = None,
    ) -> bool:
        """Whether the network can be traced for another number of rows.

        Args:
            axes: which axes of the condition's arrays have as many entries.
            rows: how many.
            resized: an array's place, and an axis of it to take at another length.
        """
        condition = with_rows(self.condition, tuple(axes), rows)
        if resized is not None:
            place, axis, length = resized
            one: list[int | None] = [None] * len(axes)
            one[place] = axis
            condition = with_rows(condition, tuple(one), length)
        sample = with_rows(self.sample, leading_axes(self.sample), rows)
        t = jax.ShapeDtypeStruct((rows,), jnp.float32)
        try:
            said = jax.eval_shape(
                self.model.denoise, self.weights, sample, t, condition
            )
        except Exception:
            # A network may raise anything when shapes do not fit.
            return False
        shapes = [[jnp.shape(x) for x in jax.tree.leaves(y)] for y in (said, sample)]
        return shapes[0] == shapes[1]


# A stream asks for its places, for its slots and for the first request.
@functools.lru_cache(maxsize=64)
def _found(model: FunctionModel, structure: Any, leaves: tuple[Any, ...]) -> RowAxes:
    asked = _Asked(model, *jax.tree.unflatten(structure, leaves))
    shapes = [x.shape for x in jax.tree.leaves(asked.condition)]
    batch = jax.tree.leaves(asked.sample)[0].shape[0]
    # Lengths that nothing has, so that nothing fits by accident; 1 fits everything. The
    # odd one is less than the rows, so that it does not fit by being cut off either.
    taken = {1, 2 * batch, *(length for shape in shapes for length in shape)}
    free = (n for n in itertools.count(batch + 1) if n not in taken)
    odd, other = next(free), next(free)
    # A network that is written for one number of rows is written for those of both
    # branches, if it is guided; others want a multiple of some number.
    trials = itertools.product((other, 2 * batch), _candidates(shapes, batch))
    for rows, axes in trials:
        if asked.takes(axes, rows):
            break
    else:
        return tuple(0 if shape[:1] == (batch,) else None for shape in shapes)
    found = list(axes)
    for place, axis in enumerate(axes):
        shared = [*found[:place], None, *found[place + 1 :]]
        if batch > 1:
            if axis is not None and asked.takes(shared, rows):
                found = shared
            continue
        # One row is repeated for any number of them, so it is tried with another length
        # than theirs: what goes along with them cannot have that.
        for k in [k for k, length in enumerate(shapes[place]) if length == 1]:
            along = [*found[:place], k, *found[place + 1 :]]
            free_of_rows = asked.takes(shared, rows, (place, k, odd))
            if not free_of_rows and asked.takes(along, rows):
                found = along
                break
        else:
            found = shared
    return tuple(found)


def _candidates(
    shapes: Sequence[tuple[int, ...]], batch: int
) -> Iterator[Sequence[int | None]]:
    """Where rows may be; first along the first axis, wherever that is as long."""
    choices = []
    for shape in shapes:
        places = [k for k, length in enumerate(shape) if length == batch]
        first = [0] if places[:1] == [0] else []
        choices.append([*first, None, *(k for k in places if k)])
    return itertools.islice(itertools.product(*choices), _MOST_TRIALS)


def _is_read(
    model: FunctionModel, weights: Any, condition: Any, sample: Any, place: int
) -> bool:
    """Whether the network looks at an array of the condition at all."""
    weights, condition, sample = structs_of((weights, condition, sample))
    leaves, structure = jax.tree.flatten(condition)
    rows = jax.tree.leaves(sample)[0].shape[0]

    def ask(one: Any, rest: Any, weights: Any, sample: Any, t: Any) -> Any:
        told = jax.tree.unflatten(structure, [*rest[:place], one, *rest[place + 1 :]])
        return model.denoise(weights, sample, t, told)

    t = jax.ShapeDtypeStruct((rows,), jnp.float32)
    try:
        traced = jax.make_jaxpr(ask)(leaves[place], leaves, weights, sample, t).jaxpr
    except Exception:
        return True
    one = traced.invars[0]
    return any(one is x for eqn in traced.eqns for x in eqn.invars)
