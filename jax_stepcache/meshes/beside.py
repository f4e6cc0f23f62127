"""Where arrays lie: beside the weights."""

from __future__ import annotations

import functools
from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import (
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)


def sharding_beside(weights: Any) -> Sharding:
    """A whole copy on each device that weights are on.

    Args:
        weights: pytree of arrays.

    Returns:
        The sharding: of the context's mesh, on which all programs run; else of the mesh
        that some of them are spread over, else of the device that the first of them is
        on, else of the one that JAX would take.
    """
    home = _home(weights, for_good=False)
    return home or SingleDeviceSharding(jax.local_devices()[0])


def all_over_the_mesh(tree: Any) -> NamedSharding | None:
    """A whole copy on each device of the mesh that arrays are on.

    Args:
        tree: pytree of arrays.

    Returns:
        The sharding, for the first of them that is on a mesh; None if none is.
    """
    for x in jax.tree.leaves(tree):
        if _is_placed(x) and isinstance(x.sharding, NamedSharding):
            return NamedSharding(x.sharding.mesh, PartitionSpec())
    return None


def context_mesh() -> Mesh | None:
    """The mesh of `jax.set_mesh`; None where there is none, or something is traced."""
    try:
        mesh = jax.sharding.get_mesh()
    except ValueError:
        return None
    return None if mesh.empty else mesh


def moved_beside(sharding: Sharding, tree: Any) -> Any:
    """Arrays of a tree moved to where others are, those that are elsewhere for good.

    Args:
        sharding: see `sharding_beside`.
        tree: pytree of arrays.

    Returns:
        The tree. Arrays that are on the same devices, or that JAX moves by itself, are
        left as they are.
    """
    devices = _order(sharding)

    def moved(x: Any) -> Any:
        if not _is_placed(x) or not x.committed:
            return x
        return x if _order(x.sharding) == devices else jax.device_put(x, sharding)

    return jax.tree.map(moved, tree)


def arrays_beside(weights: Any, tree: Any) -> Any:
    """Arrays of a tree moved to where weights are, those that are elsewhere for good.

    Args:
        weights: pytree of arrays; looked at only where the tree has committed ones.
        tree: pytree of arrays.

    Returns:
        The tree; see `moved_beside`.
    """
    if not any(_is_placed(x) and x.committed for x in jax.tree.leaves(tree)):
        return tree
    return moved_beside(sharding_beside(weights), tree)


def check_near(weights: Any, **given: Any) -> None:
    """Checks that what is asked with was not put for good where the weights are not.

    A device of the weights' mesh is near enough: to spread an array from there over the
    others takes one copy between neighbours. With several processes it is not, for the
    others have no such array to take part with.

    Args:
        weights: pytree of arrays. Where JAX may still choose their devices, as for
            arrays that nobody has placed, all is near.
        **given: pytrees of arrays by the name of the argument; looked at only where
            they have committed ones.

    Raises:
        ValueError: naming the array, its devices, those of the weights, and what to do.
    """
    if not any(_is_placed(x) and x.committed for x in jax.tree.leaves(given)):
        return
    home = _home(weights, for_good=True)
    if home is None:
        return
    several = not home.is_fully_addressable
    for path, x in jax.tree_util.tree_leaves_with_path(given):
        if not _is_placed(x) or not x.committed or x.sharding == home:
            continue
        there = x.sharding.device_set
        if there == home.device_set or (not several and there <= home.device_set):
            continue
        argument = jax.tree_util.keystr(path[:1], simple=True)
        remedy = "give it as a NumPy array, or put it there with jax.device_put"
        if several:
            remedy = (
                "give the same NumPy array in every process, or make one array of all "
                "with jax.make_array_from_process_local_data"
            )
        raise ValueError(
            f"{argument}{jax.tree_util.keystr(path[1:])} is committed to "
            f"{told(x.sharding)}, and the weights are on {told(home)}: {remedy}"
        )


def told(where: Sharding) -> str:
    """Some devices in words.

    Args:
        where: a sharding.

    Returns:
        Their names, the first four of many.
    """
    devices = sorted(where.device_set, key=lambda device: device.id)
    more = f" and {len(devices) - 4} more" if len(devices) > 4 else ""
    return ", ".join(map(str, devices[:4])) + more


def _home(weights: Any, *, for_good: bool) -> Sharding | None:
    """Where weights are, perhaps only those that JAX may not move; None if nowhere."""
    mesh = context_mesh()
    if mesh is not None:
        return NamedSharding(mesh, PartitionSpec())
    alone = (
        x.sharding
        for x in jax.tree.leaves(weights)
        if _is_placed(x) and (x.committed or not for_good)
    )
    return all_over_the_mesh(weights) or next(alone, None)


def brought_together(weights: Any, tree: Any) -> tuple[Any, Any]:
    """Weights and other arrays on the same devices.

    What is on other devices goes to those of the weights; but weights that are on one
    device go to the mesh that the others are spread over.

    Args:
        weights: pytree of arrays.
        tree: the others.

    Returns:
        Both.
    """
    beside = sharding_beside(weights)
    spread = [
        x
        for x in jax.tree.leaves(tree)
        if _is_placed(x) and len(x.sharding.device_set) > 1
    ]
    if spread and len(beside.device_set) == 1:
        beside = sharding_beside(spread)
    return moved_beside(beside, weights), moved_beside(beside, tree)


def _is_placed(x: Any) -> bool:
    """Whether something is an array that lies somewhere."""
    return isinstance(x, jax.Array) and not isinstance(x, Tracer)


@functools.lru_cache(maxsize=256)
def _order(sharding: Sharding) -> tuple[Any, ...]:
    """The devices; those of a mesh in its order, which programs go by."""
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh):
        return tuple(sharding.mesh.devices.flat)
    return tuple(sorted(sharding.device_set, key=lambda device: device.id))
