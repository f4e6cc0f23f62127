"""From a model's table of names to its weights, at once or tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.checkpoints.streaming import Recipe
from jax_stepcache.checkpoints.weights import (
    differences,
    flat,
    nested,
    require_fit,
)
from jax_stepcache.errors import unknown_name

from .tensors import Table, Tensor

T = TypeVar("T")


def recipes(table: Table, structs: Any, prefix: str = "") -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights, for one that is streamed.

    Args:
        table: a `Tensor` for every weight, in the weights' structure.
        structs: shapes of the weights, nested dict of ``jax.ShapeDtypeStruct``. Those
            whose source has ``{layer}`` in its name have a leading layer axis.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots, in the table's order.

    Raises:
        ValueError: if table and weights have not the same names.
    """
    tensors, shapes = dict(_named(table)), flat(structs)
    if apart := sorted(tensors.keys() ^ shapes.keys()):
        raise ValueError(f"the name map and the weights differ in {apart}")
    return {
        name: _recipe(tensor, shapes[name].shape, prefix)
        for name, tensor in tensors.items()
    }


def source_shapes(plan: Mapping[str, Recipe]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that weights are made of.

    Args:
        plan: as from `recipes`.

    Returns:
        Shapes by the tensors' names.
    """
    return {
        source: recipe.source_shape
        for recipe in plan.values()
        for source in recipe.sources
    }


def assembled(plan: Mapping[str, Recipe], tensors: Mapping[str, Any]) -> Any:
    """Makes all weights of tensors that are in memory.

    Args:
        plan: as from `recipes`.
        tensors: arrays by their names in the checkpoint; all that the plan asks for.

    Returns:
        Nested dict of arrays, in the dtype they were given in.
    """

    def make(recipe: Recipe) -> jax.Array:
        parts = [recipe.convert(tensors[source]) for source in recipe.sources]
        if not recipe.stacked:
            return jnp.asarray(parts[0])
        # On the host where they lie there: a program for each shape takes longer.
        on_host = all(isinstance(part, np.ndarray) for part in parts)
        made = jnp.asarray(np.stack(parts)) if on_host else jnp.stack(parts)
        return made.reshape(recipe.shape)

    made = {name: make(recipe) for name, recipe in plan.items()}
    return nested(made, "the state dict")


def imported(plan: Mapping[str, Recipe], tensors: Mapping[str, Any]) -> Any:
    """Checks a state dict, and makes all weights of it.

    Args:
        plan: as from `recipes`.
        tensors: arrays by their names in the checkpoint, all of them and no other.

    Returns:
        Nested dict of arrays, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    given = {name: np.shape(tensor) for name, tensor in tensors.items()}
    require_fit("the state dict", differences(given, source_shapes(plan)))
    on_host = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    return assembled(plan, on_host)


def way_of(naming: str, namings: Mapping[str, T]) -> T:
    """The way in which somebody names tensors.

    Raises:
        ValueError: for another name than those of ``namings``.
    """
    if naming not in namings:
        raise ValueError(unknown_name("naming", naming, namings))
    return namings[naming]


def _named(table: Table, before: str = "") -> Iterator[tuple[str, Tensor]]:
    """The table's tensors by the weights' names, with dots, in its own order."""
    for key, value in table.items():
        if isinstance(value, Tensor):
            yield before + key, value
        else:
            yield from _named(value, f"{before}{key}.")


def _recipe(tensor: Tensor, shape: tuple[int, ...], prefix: str) -> Recipe:
    sources = (tensor.source,) if isinstance(tensor.source, str) else tensor.source
    parts = len(sources)
    stacked = "{layer}" in sources[0]
    if stacked:
        sources = tuple(s.format(layer=i) for i in range(shape[0]) for s in sources)
    return Recipe(
        sources=tuple(prefix + source for source in sources),
        source_shape=tensor.shape(shape[1:] if stacked else shape),
        convert=tensor.convert,
        shape=shape,
        stacked=stacked,
        parts=parts,
    )
