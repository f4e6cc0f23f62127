"""Where a run's arrays lie on a mesh: fully sharded, "FSDP" or "ZeRO stage 3".

Every device has a part of each weight, of its average and of its moments, and rows of
the batch of its own. A layer's weights are gathered when it runs, and gathered anew for
its gradient, which is summed into the parts as they lie.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_stepcache.checkpoints.placement import STACKED, split_axis
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.explicit import automatic_mesh
from jax_stepcache.processes import are_several, put_all

from ..layers.spread import Spread

AXES = ("data", "fsdp")
"""What axes of a mesh may be called. Rows of a batch are spread over all of them,
weights over ``fsdp`` alone where there is one, so that each group along ``data`` has
all of them."""

# Arrays below these names have the layers along their first axis.
_STACKED = (STACKED, "adapters")


@dataclass(frozen=True)
class FullySharded:
    """A mesh, and who has what on it. Static.

    Attributes:
        mesh: the devices, with axes that are left to the compiler.
    """

    mesh: Mesh

    @property
    def whole(self) -> NamedSharding:
        """Of an array that every device has all of."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def rows(self) -> NamedSharding:
        """Of a batch, which is spread over all axes."""
        return NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names))

    @property
    def parts(self) -> NamedSharding:
        """Of a batch that is split into parts along an axis before its rows."""
        return NamedSharding(self.mesh, PartitionSpec(None, self.mesh.axis_names))

    def shardings(self, tree: Any) -> Any:
        """Of weights, and of what is like them, such as moments.

        Args:
            tree: pytree of arrays or structs. What lies under ``blocks`` or
                ``adapters`` is of all layers, and is not split along these.

        Returns:
            The same tree with a sharding for each: along the longest axis that the
            devices divide; whole where there is none.
        """
        # The longest, and not one of a name as the rules of `jax_stepcache.Layout` have
        # it: a part only stores here, and is gathered before any product. So what
        # counts is that it can be cut, also in moments and adapters, which no model
        # names, and a tensor of rank 16 is cut along its other axis.
        axes = _of_weights(self.mesh)
        devices = math.prod(self.mesh.shape[name] for name in axes)

        def one(path: Any, x: Any) -> NamedSharding:
            names = {getattr(key, "key", None) for key in path}
            stacked = not names.isdisjoint(_STACKED)
            axis = split_axis(x.shape, devices, stacked=stacked)
            if axis is None:
                return self.whole
            return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, axes))

        return jax.tree_util.tree_map_with_path(one, tree)

    def spread(self, dtype: str) -> Spread:
        """What a network is told of it.

        Args:
            dtype: that the network computes in; weights are gathered in it.

        Returns:
            See `Spread`. A weight's gradient goes back to its parts.
        """

        def gather(tree: Any) -> Any:
            parts = self.shardings(tree)
            return jax.tree.map(
                lambda x, part: _gathered(x, self.whole, part, dtype), tree, parts
            )

        def pin(tree: Any) -> Any:
            return jax.lax.with_sharding_constraint(tree, self.rows)

        return Spread(gather, pin)

    def laid_out(self, tree: Any) -> Any:
        """Weights where they belong; traced ones are told that they stay there."""
        shardings = self.shardings(tree)
        if any(isinstance(x, Tracer) for x in jax.tree.leaves(tree)):
            return jax.lax.with_sharding_constraint(tree, shardings)
        return put_all(tree, shardings)


def fully_sharded(mesh: Mesh | None, rows: int = 0) -> FullySharded | None:
    """A layout on a mesh.

    Args:
        mesh: with axes of `AXES`, of any type; None for one device.
        rows: of each part of a batch, which the devices must divide.

    Returns:
        The layout; None without a mesh.

    Raises:
        TypeError: if ``mesh`` is no mesh.
        ValueError: for an axis of another name, or rows that cannot be spread; and
            see `check_together`.
    """
    check_together(mesh)
    if mesh is None:
        return None
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}")
    for name in mesh.axis_names:
        if name not in AXES:
            raise ValueError(
                unknown_name("axis of a mesh to train on", str(name), AXES)
            )
    if rows % mesh.size:
        shape = ", ".join(f"{name}={size}" for name, size in mesh.shape.items())
        raise ValueError(
            f"the batch has {rows} rows at once, which the {mesh.size} devices of the "
            f"mesh ({shape}) do not divide; give a batch of {mesh.size} times the "
            "number of parts that it is accumulated from, or a smaller mesh"
        )
    return FullySharded(automatic_mesh(mesh))


def check_together(mesh: Mesh | FullySharded | None) -> None:
    """Raises a ValueError where several processes would each train for itself."""
    if mesh is None and are_several():
        raise ValueError(
            f"{jax.process_count()} processes train together on a mesh of all their "
            "devices: give mesh=, such as jax.make_mesh((jax.device_count(),), "
            "('fsdp',))"
        )


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _gathered(
    x: jax.Array, whole: NamedSharding, part: NamedSharding, dtype: str
) -> jax.Array:
    """All of a weight on each device; its gradient, summed over these, in parts."""
    # Cast in parts: what is sent is half as much in 16 bits.
    part_of = jax.lax.with_sharding_constraint(x.astype(dtype), part)
    return jax.lax.with_sharding_constraint(part_of, whole)


def _gather_forwards(
    x: jax.Array, whole: NamedSharding, part: NamedSharding, dtype: str
) -> tuple[jax.Array, jax.Array]:
    return _gathered(x, whole, part, dtype), jnp.zeros((), x.dtype)


def _gather_backwards(
    whole: NamedSharding,
    part: NamedSharding,
    dtype: str,
    kind: jax.Array,
    gradient: jax.Array,
) -> tuple[jax.Array]:
    del whole, dtype
    summed = jax.lax.with_sharding_constraint(gradient, part)
    return (summed.astype(kind.dtype),)


_gathered.defvjp(_gather_forwards, _gather_backwards)


def _of_weights(mesh: Mesh) -> tuple[str, ...]:
    names = tuple(str(name) for name in mesh.axis_names)
    return ("fsdp",) if "fsdp" in names else names
