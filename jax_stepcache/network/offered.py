"""What the package of a model offers beside the model's own methods."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

from jax_stepcache.meshes.by_name import PlacedByName
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.protocol import Part


def offered(model: Part, name: str) -> Any:
    """What the package of a model offers, or else the package of its base class.

    Args:
        model: the model.
        name: of the function.

    Returns:
        The function, or None.
    """
    for kind in type(model).__mro__:
        module = importlib.import_module(kind.__module__)
        for place in (
            module,
            importlib.import_module(module.__package__ or "builtins"),
        ):
            if hasattr(place, name):
                return getattr(place, name)
    return None


def in_dtype(model: Part, dtype: str | None) -> Any:
    """A model with other activations, where it lets one choose.

    Args:
        model: the model.
        dtype: a dtype's name; None changes nothing.

    Returns:
        The model.
    """
    with_dtype = offered(model, "with_dtype")
    return model if dtype is None or with_dtype is None else with_dtype(model, dtype)


def in_layout(model: Any, layout: Layout) -> Any:
    """A bundled model that pins its arrays as a layout says."""
    return replace(model, layout=layout)


def asked_in_step(model: Any) -> Any:
    """A model whose rows are always at one timestep; see `OfExperts.in_step`."""
    in_step = getattr(model, "in_step", None)
    return model if in_step is None else in_step()


def placed_by_name(model: Part, layout: Layout) -> PlacedByName:
    """Where the weights of a bundled model lie.

    Args:
        model: its package names the axes.
        layout: the mesh and the rules.

    Returns:
        The placement.
    """
    sizes = offered(model, "axis_sizes")(model)
    return PlacedByName(layout, offered(model, "weight_axes"), sizes)
