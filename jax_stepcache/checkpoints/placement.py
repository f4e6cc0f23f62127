"""Which device holds which part of a weight."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jax_stepcache.meshes.by_name import PlacedByName
from jax_stepcache.meshes.explicit import automatic_mesh

# Weights of this name carry a leading axis of layers, which the model scans over. Of a
# model of several networks the network's name stands before it.
STACKED = "blocks"


def placement(
    mesh: Mesh | AbstractMesh | None, shape: tuple[int, ...], *, stacked: bool = False
) -> NamedSharding | None:
    """Splits an array's longest axis over all devices.

    The rule is that of fully sharded weights: of the axes whose size the number of
    devices divides, the longest is cut (the last of equals), over all axes of the mesh
    together; an array without such an axis lies whole on every device. The layer axis
    is never cut, so that each step of the scan over layers finds its part everywhere.

    Args:
        mesh: the devices, with axes of any type; None for the default device.
        shape: of the array.
        stacked: whether its first axis is that of the layers.

    Returns:
        The sharding, over axes of type Auto, or None without a mesh.

    Raises:
        TypeError: if ``mesh`` is no `jax.sharding.Mesh`.
    """
    if mesh is None:
        return None
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}")
    # Axes that the compiler handles, whatever kind they were given as: networks here do
    # not say how each of their activations is split.
    mesh = automatic_mesh(mesh)
    axis = split_axis(shape, mesh.size, stacked=stacked)
    if axis is None:
        return NamedSharding(mesh, PartitionSpec())
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, mesh.axis_names))


def weight_sharding(
    where: Mesh | PlacedByName | None, name: str, shape: tuple[int, ...]
) -> NamedSharding | None:
    """Where a weight lies: as its model's rules say, or else by `placement`.

    Args:
        where: a mesh, names and rules, or None for the default device.
        name: the weight's, with dots.
        shape: its shape.

    Returns:
        The sharding, or None for the default device.
    """
    if isinstance(where, PlacedByName):
        return where.sharding(name, shape)
    return placement(where, shape, stacked=is_stacked(name))


def split_axis(
    shape: tuple[int, ...], devices: int, *, stacked: bool = False
) -> int | None:
    """The axis that `placement` splits.

    Args:
        shape: of the array.
        devices: their number.
        stacked: whether its first axis is that of the layers.

    Returns:
        The axis, or None if there is none to split.
    """
    axes = [
        axis
        for axis, size in enumerate(shape)
        if size and size % devices == 0 and not (stacked and axis == 0)
    ]
    return max(axes, key=lambda axis: (shape[axis], axis), default=None)


def placed_struct(
    where: Mesh | PlacedByName | None, name: str, struct: jax.ShapeDtypeStruct
) -> jax.ShapeDtypeStruct:
    """A weight's shape and dtype, with the sharding that `weight_sharding` gives it.

    Args:
        where: see `weight_sharding`.
        name: the weight's, with dots.
        struct: its shape and dtype.

    Returns:
        The same with a sharding.
    """
    sharding = weight_sharding(where, name, struct.shape)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(struct.shape, struct.dtype, sharding=sharding)


def is_stacked(name: str) -> bool:
    """Whether a weight's first axis is that of the layers."""
    return STACKED in name.split(".", maxsplit=2)[:2]


def bytes_per_device(weights: Any, devices: int) -> int:
    """What each device holds of a model's weights, as `placement` lays them out.

    Args:
        weights: nested dict of arrays or structs.
        devices: how many there are.

    Returns:
        Bytes.
    """
    total = 0
    for path, x in jax.tree_util.tree_leaves_with_path(weights):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        axis = split_axis(x.shape, devices, stacked=is_stacked(name))
        size = math.prod(x.shape) * np.dtype(x.dtype).itemsize
        total += size if axis is None else size // devices
    return total


def part_bytes(tree: Any, shardings: Any) -> int:
    """What a device holds of some arrays.

    Args:
        tree: pytree of arrays or structs.
        shardings: one for each.

    Returns:
        Bytes.
    """

    def of(x: Any, where: NamedSharding) -> int:
        return math.prod(where.shard_shape(x.shape)) * np.dtype(x.dtype).itemsize

    return sum(jax.tree.leaves(jax.tree.map(of, tree, shardings)))


def device_bytes(weights: Any, devices: int, by_name: PlacedByName | None) -> int:
    """What a device holds of weights, cut by rules or without any.

    Args:
        weights: pytree of arrays or structs.
        devices: how many there are.
        by_name: how rules place them; None for `bytes_per_device`.

    Returns:
        Bytes.
    """
    if by_name is None:
        return bytes_per_device(weights, devices)
    return part_bytes(weights, by_name.shardings(weights))
