"""The first devices of a machine, as a mesh."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from jax_stepcache.meshes.presets import shape_for


def first_devices(count: int) -> list[Any]:
    """So many of the devices.

    Raises:
        ValueError: if there are fewer.
    """
    devices = jax.devices()
    if not 1 <= count <= len(devices):
        raise ValueError(
            f"--devices is {count}; there are {len(devices)}, of kind "
            f"{devices[0].device_kind}"
        )
    return devices[:count]


def mesh_for(count: int, rules: str | None) -> Mesh:
    """The mesh that a preset is usually given, of the first devices.

    Args:
        count: how many.
        rules: the preset's name, or None.

    Returns:
        The mesh.

    Raises:
        ValueError: if there are fewer devices, or the preset has no such mesh.
    """
    shape = shape_for(rules, count)
    types = (AxisType.Auto,) * len(shape.axis_names)
    return jax.make_mesh(
        tuple(shape.shape.values()),
        shape.axis_names,
        axis_types=types,
        devices=first_devices(count),
    )
