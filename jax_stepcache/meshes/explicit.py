"""Meshes with explicit axes, as `jax.make_mesh` makes them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jax_stepcache.meshes.beside import context_mesh

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def under_automatic_axes(
    function: Callable[[Any], Any],
    given: Any,
    outputs: Callable[[Any], Any] = lambda specs: PartitionSpec(),
) -> Any:
    """Calls a function with the axes of a mesh left to the compiler; under `jax.jit`.

    Where axes are explicit, an array's type says how it is spread, and a reshape, a
    concatenation or a gather that would have to move data is an error. A network and a
    cache are full of these, and the compiler knows what to do with each. A network that
    says itself how its products are spread (``out_sharding=``) cannot be traced so, and
    is called with axes as they are.

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
        automatic = jax.sharding.auto_axes(
            function, axes=mesh.explicit_axes, out_sharding=specs
        )
        try:
            jax.eval_shape(automatic, given)
        except Exception as error:
            refused = error
        else:
            return automatic(given)
    try:
        return function(given)
    except Exception:
        raise refused from None


def apart(x: jax.Array, count: int) -> jax.Array:
    """Rows [count * n, ...] as [count, n, ...], also where their axis is explicit."""
    if _spread_by_type(x):
        return jnp.stack(jnp.split(x, count))
    return x.reshape(count, x.shape[0] // count, *x.shape[1:])


def together(x: jax.Array) -> jax.Array:
    """The inverse of `apart`."""
    if _spread_by_type(x):
        return jnp.concatenate([x[i] for i in range(x.shape[0])])
    return x.reshape(-1, *x.shape[2:])


def _spread_by_type(x: jax.Array) -> bool:
    sharding = jax.typeof(x).sharding
    return bool(sharding.mesh.explicit_axes) and any(sharding.spec)


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
        return jax.device_put(x, NamedSharding(automatic_mesh(mesh), sharding.spec))

    return jax.tree.map(automatic, tree)


def automatic_mesh(mesh: Mesh) -> Mesh:
    """The same devices and axes, left to the compiler."""
    types = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=types)


@contextlib.contextmanager
def automatic_context() -> Iterator[None]:
    """Leaves the axes of `jax.set_mesh`'s mesh to the compiler for a while.

    Arrays on a mesh of such axes cannot be used in a context of explicit ones.
    """
    mesh = context_mesh()
    if mesh is None or not mesh.explicit_axes:
        yield
        return
    with jax.set_mesh(automatic_mesh(mesh)):
        yield


def as_in_context(tree: Any) -> Any:
    """The inverse of `with_automatic_axes`, for who is in a context of explicit axes.

    What is returned to them is used in their context.

    Args:
        tree: any pytree.

    Returns:
        The tree; its arrays on the context's devices have the context's axes. Nothing
        is copied.
    """
    mesh = context_mesh()
    if mesh is None or not mesh.explicit_axes:
        return tree
    automatic = automatic_mesh(mesh)

    def explicit(x: Any) -> Any:
        if not isinstance(x, jax.Array) or isinstance(x, Tracer):
            return x
        sharding = x.sharding
        if not isinstance(sharding, NamedSharding) or sharding.mesh != automatic:
            return x
        return jax.device_put(x, NamedSharding(mesh, sharding.spec))

    return jax.tree.map(explicit, tree)


def in_automatic_context(
    function: Callable[_Given, _Result],
) -> Callable[_Given, _Result]:
    """Runs a function in an `automatic_context`, and returns what fits its caller's."""

    @functools.wraps(function)
    def run(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
        with automatic_context():
            result = function(*args, **kwargs)
        return as_in_context(result)

    return run


@contextlib.contextmanager
def no_context() -> Iterator[None]:
    """Leaves the mesh of `jax.set_mesh` for a while: programs run where arrays are."""
    if context_mesh() is None:
        yield
        return
    with jax.set_mesh(Mesh(np.empty((), object), ())):
        yield


def _explicit_mesh(given: Any) -> Any:
    """The mesh with explicit axes that arrays are on, or the context has; or None."""
    meshes = [
        jax.typeof(x).sharding.mesh
        for x in jax.tree.leaves(given)
        if isinstance(x, Tracer)
    ]
    meshes = [mesh for mesh in meshes if mesh.explicit_axes]
    others = {str(dict(mesh.shape)) for mesh in meshes}
    if len(others) > 1:
        # JAX would look for the axes of one among those of another.
        raise ValueError(f"arrays are spread over several meshes, {sorted(others)}")
    context = jax.sharding.get_abstract_mesh()
    meshes += [context] if context.explicit_axes else []
    return meshes[0] if meshes else None


def _spec(x: Any) -> Any:
    return jax.typeof(x).sharding.spec
