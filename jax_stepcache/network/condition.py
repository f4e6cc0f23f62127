"""Which axis of a condition's arrays holds the rows of the batch."""

from __future__ import annotations

import functools
from typing import Any

import jax

from jax_stepcache.check import described, structs_of
from jax_stepcache.network.inputs import Inputs, default_key
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.own_rows import own_axes
from jax_stepcache.network.rows import RowAxes, leading_axes, row_axes, with_rows


def condition_axes(
    model: Any, weights: Any, inputs: Inputs, sample: Any, guided: bool
) -> RowAxes:
    """Finds the rows of the condition that comes of some inputs.

    Args:
        model: the model. One of the user's own is asked itself, by tracing for shapes,
            of another its ``prepare``.
        weights: its weights.
        inputs: an observation, or a condition that is already prepared.
        sample: pytree of [batch, ...] arrays, where the model is the user's.
        guided: whether both branches run.

    Returns:
        The axis of each array of the condition.

    Raises:
        ValueError: if the condition is not of the kind that the model prepares.
    """
    if isinstance(model, FunctionModel):
        return own_axes(model, weights, inputs.condition, sample)
    shown = inputs.observation
    if shown is None:
        shown = _shown(model)
    leaves, structure = jax.tree.flatten(structs_of((weights, shown)))
    axes, prepared = _prepared(model, guided, structure, tuple(leaves))
    if inputs.observation is None:
        given = jax.tree.structure(inputs.condition)
        if given != prepared:
            raise ValueError(
                f"the condition is not what {model.name} prepares: it has "
                f"{described(inputs.condition)}; prepare(weights, observation, guided) "
                f"makes {prepared.num_leaves} arrays of another structure"
            )
    return axes


@functools.lru_cache(maxsize=64)
def _shown(model: Any) -> Any:
    """Shapes and dtypes of what a model makes to try it on."""
    return jax.eval_shape(model.example, default_key())


# Asked at every control step of a robot, and traced once.
@functools.lru_cache(maxsize=64)
def _prepared(
    model: Any, guided: bool, structure: Any, leaves: tuple[Any, ...]
) -> tuple[RowAxes, Any]:
    """The rows of what a model prepares, and its structure."""
    weights, shown = jax.tree.unflatten(structure, leaves)

    def prepare(weights: Any, observation: Any) -> Any:
        return model.prepare(weights, observation, guided)

    one, two = (
        jax.eval_shape(prepare, weights, with_rows(shown, leading_axes(shown), batch))
        for batch in (1, 2)
    )
    branches = 2 if guided else 1
    return row_axes(one, two, (branches, 2 * branches)), jax.tree.structure(one)
