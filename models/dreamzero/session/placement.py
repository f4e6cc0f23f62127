"""Where a session lies, when its model lies on several devices."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jax_stepcache.meshes.layout import Layout
from jax_stepcache.processes import put_all

from ...layers.video_axes import condition_axes
from .session import Session


def mesh_of(weights: Any) -> Mesh | None:
    """The devices that weights are spread over; None for a single one."""
    for leaf in jax.tree.leaves(weights):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh):
            return sharding.mesh if sharding.mesh.size > 1 else None
    return None


def session_shardings(session: Session, mesh: Mesh | AbstractMesh | Layout) -> Session:
    """By a layout's rules; or keys and values by heads, and all else everywhere.

    What the number of devices does not divide is everywhere, too.

    Args:
        session: arrays, or their shapes.
        mesh: the devices, with axes of type Auto; or a layout.

    Returns:
        The session's structure with a sharding in each place.
    """
    if isinstance(mesh, Layout):
        return _by_rules(session, mesh)

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        # Of layers that are apart, the last key is an index.
        names = {getattr(key, "name", None) for key in path[-2:]}
        if names & {"k", "v"} and leaf.shape[-2] % mesh.size == 0:
            before = [None] * (leaf.ndim - 2)
            by_heads = PartitionSpec(*before, mesh.axis_names, None)
            return NamedSharding(mesh, by_heads)
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(sharding, session)


def _by_rules(session: Session, layout: Layout) -> Session:
    """Rows, frames and heads where the rules have them."""

    def sharding(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        axes = condition_axes(name, leaf.ndim)
        if name in ("position", "y"):  # One for a robot, whatever the branches.
            axes = ("batch", *axes[1:])
        return layout.fitting(axes, leaf.shape)

    return jax.tree_util.tree_map_with_path(sharding, session)


def placed(session: Session, mesh: Mesh | Layout | None) -> Session:
    """Pins a session inside a compiled function.

    What the compiler would choose by itself differs from one function to the next, and
    each step would be compiled once more for what the last one has left.

    Args:
        session: the session.
        mesh: see `session_shardings`; None changes nothing.

    Returns:
        The session.
    """
    if mesh is None:
        return session
    return jax.lax.with_sharding_constraint(session, session_shardings(session, mesh))


def put(session: Session, mesh: Mesh | Layout | None) -> Session:
    """Lays a session out, outside of a compiled function; see `placed`."""
    if mesh is None:
        return session
    return put_all(session, session_shardings(session, mesh))
