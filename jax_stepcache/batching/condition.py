"""Which axis of a condition's arrays holds the rows of the batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.batching.rows import RowAxes, leading_axes, row_axes, with_rows
from jax_stepcache.inputs import Inputs
from jax_stepcache.model import FunctionModel


def condition_axes(model: Any, weights: Any, inputs: Inputs, guided: bool) -> RowAxes:
    """Finds the rows of the condition that comes of some inputs.

    Args:
        model: the model. One of the user's own takes a condition as it is, with rows
            along the first axis; another's ``prepare`` is asked by tracing for shapes.
        weights: its weights.
        inputs: an observation, or a condition that is already prepared.
        guided: whether both branches run.

    Returns:
        The axis of each array of the condition.

    Raises:
        ValueError: if the condition is not of the kind that the model prepares.
    """
    if isinstance(model, FunctionModel):
        return leading_axes(inputs.condition)
    shown = inputs.observation
    if shown is None:
        shown = jax.eval_shape(model.example, jax.random.key(0))

    def prepared(batch: int) -> Any:
        observation = with_rows(_structs(shown), leading_axes(shown), batch)
        return jax.eval_shape(
            lambda weights, observation: model.prepare(weights, observation, guided),
            weights,
            observation,
        )

    one = prepared(1)
    if inputs.observation is None and jax.tree.structure(one) != jax.tree.structure(
        inputs.condition
    ):
        raise ValueError(
            f"the condition is not what {model.name} prepares: "
            f"{jax.tree.structure(inputs.condition)}, not {jax.tree.structure(one)}"
        )
    branches = 2 if guided else 1
    return row_axes(one, prepared(2), (branches, 2 * branches))


def _structs(tree: Any) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree
    )
