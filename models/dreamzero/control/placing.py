"""The params of a pipeline: the attention asked for, on the devices asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jax.sharding import Mesh

from jax_stepcache.errors import brief
from jax_stepcache.meshes.beside import arrays_beside, check_near
from jax_stepcache.meshes.explicit import with_automatic_axes
from jax_stepcache.network.params import Params
from jax_stepcache.network.placed import on_their_mesh

from ..model import DreamZeroModel


def placed_params(
    params: Any, attention: str | None, mesh: Mesh | None, rules: Any
) -> tuple[Params, DreamZeroModel]:
    """Params as a pipeline uses them; arguments are those of `DreamZeroPipeline`.

    Returns:
        The params, and their model.

    Raises:
        TypeError: if the params are not a DreamZero's.
        ValueError: if mesh and rules do not fit them.
    """
    model = params.model if isinstance(params, Params) else None
    if not isinstance(model, DreamZeroModel):
        raise TypeError(
            "DreamZeroPipeline needs the params of a DreamZero, from load_params; "
            f"got {brief(params)}"
        )
    if attention is not None:
        model = replace(model, dit=replace(model.dit, attention=attention))
    params = Params(with_automatic_axes(params.weights), model)
    params = on_their_mesh(params, mesh, rules)
    return params, replace(model, layout=params.model.layout)


def beside(params: Params, names: str, *arrays: Any) -> Any:
    """Arrays, those on one device of the weights' mesh on all of it.

    Args:
        params: of the pipeline.
        names: the arguments that the arrays were given as, for errors.
        *arrays: a tree for each.

    Returns:
        The arrays.

    Raises:
        ValueError: if one was put for good on a device that the weights are not on.
    """
    given = dict(zip(names.split(), arrays, strict=True))
    check_near(params.weights, **given)
    return arrays_beside(params.weights, with_automatic_axes(arrays))


def check_batch(model: DreamZeroModel, robots: int) -> None:
    """Checks that robots can be spread as the model's layout says.

    Raises:
        ValueError: if the devices do not divide them.
    """
    if model.layout is not None:
        model.layout.check("the session", "batch", robots)
