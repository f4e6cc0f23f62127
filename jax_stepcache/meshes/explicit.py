"""Meshes with explicit axes, as `jax.make_mesh` makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def under_automatic_axes(
    function: Callable[[Any], Any],
    given: Any,
    outputs: Callable[[Any], Any] = lambda specs: PartitionSpec(),
) -> Any:
    """Calls a function with the axes of a mesh left to the compiler; under `jax.jit`.

    Where axes are explicit, an array's type says how it is spread, and a reshape, a
    concatenation or a gather that would have to move data is an error. A network and a
    cache are full of these, and the compiler knows what to do with each.

    Args:
        function: what to call.
        given: its argument, a pytree of traced arrays.
        outputs: from the argument's partition specs to those of what is returned, a
            prefix of its tree.

    Returns:
        What the function returns, its types explicit again; where no axis is explicit,
        what it returns as it is.
    """
    mesh = _explicit_mesh(given)
    if mesh is None:
        return function(given)
    specs = outputs(jax.tree.map(_spec, given))
    with jax.sharding.use_abstract_mesh(mesh):
        return jax.sharding.auto_axes(function, out_sharding=specs)(given)


def with_automatic_axes(tree: Any) -> Any:
    """Arrays as they lie, on meshes whose axes are left to the compiler; on the host.

    Args:
        tree: pytree of arrays.

    Returns:
        The tree; nothing is copied.
    """

    def automatic(x: Any) -> Any:
        if not isinstance(x, jax.Array) or isinstance(x, Tracer):
            return x
        sharding = x.sharding
        if not isinstance(sharding, NamedSharding):
            return x
        mesh = sharding.mesh
        if not isinstance(mesh, Mesh) or not mesh.explicit_axes:
            return x
        types = (AxisType.Auto,) * len(mesh.axis_names)
        mesh = Mesh(mesh.devices, mesh.axis_names, axis_types=types)
        return jax.device_put(x, NamedSharding(mesh, sharding.spec))

    return jax.tree.map(automatic, tree)


def _explicit_mesh(given: Any) -> Any:
    """The mesh with explicit axes that arrays are on, or the context has; or None."""
    for x in jax.tree.leaves(given):
        if isinstance(x, Tracer):
            mesh = jax.typeof(x).sharding.mesh
            if mesh.explicit_axes:
                return mesh
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if mesh.explicit_axes else None


def _spec(x: Any) -> Any:
    return jax.typeof(x).sharding.spec
