"""Weights of bundled models moved to a mesh, by the names of their axes."""

from __future__ import annotations

from typing import Any

from jax.sharding import Mesh

from jax_stepcache.meshes.layout import layout_of
from jax_stepcache.meshes.presets import PRESETS
from jax_stepcache.network.offered import in_layout, placed_by_name
from jax_stepcache.network.params import Params
from jax_stepcache.processes import put_all


def place_params(params: Params, *, mesh: Mesh | None, rules: Any) -> Params:
    """Moves weights of a bundled model to a mesh, by rules.

    Args:
        params: from `load_params`.
        mesh: see `load_params`.
        rules: likewise.

    Returns:
        The params; their model knows the layout, and `sample` follows it.

    Raises:
        TypeError: see `load_params`.
        ValueError: likewise.
    """
    layout = layout_of(mesh, rules)
    if not isinstance(params, Params) or layout is None:
        given = type(params).__name__
        raise TypeError(f"place_params needs Params, a mesh and rules; got {given}")
    where = placed_by_name(params.model, layout)
    weights = put_all(params.weights, where.shardings(params.weights))
    return Params(weights, in_layout(params.model, layout))


def on_their_mesh(params: Params, mesh: Mesh | None, rules: Any) -> Params:
    """Params moved to where two arguments say, or checked to be where they belong.

    Args:
        params: of a bundled model.
        mesh: see `place_params`; None to leave them where they are.
        rules: likewise.

    Returns:
        The params.

    Raises:
        ValueError: if one of the two is given alone, or weights are elsewhere than the
            layout of their model.
    """
    if mesh is not None and rules is None:
        raise ValueError(
            f"mesh= needs rules=, such as 'tensor': one of {sorted(PRESETS)}, or pairs "
            "of a logical axis and a mesh axis"
        )
    if rules is not None:
        return place_params(params, mesh=mesh, rules=rules)
    layout = getattr(params.model, "layout", None)
    if layout is not None:
        layout.check_placed(params.weights, "weight")
    return params
