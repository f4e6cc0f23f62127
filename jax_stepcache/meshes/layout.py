"""Where each part of an array lies: a mesh, and rules from names of axes to its axes.

The rules are Flax's (`flax.linen.logical_to_mesh_axes`), as MaxText has them: whoever
makes an array names its axes, whoever has the devices says which name goes where.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.beside import told
from jax_stepcache.meshes.explicit import automatic_mesh
from jax_stepcache.meshes.presets import LOGICAL_AXES, Rule, Rules, preset_rules
from jax_stepcache.processes import put as put_there

# The axes of an array: a name each, several where they are merged into one (the first
# varies slowest), None where there is nothing to cut.
Axes = tuple[str | tuple[str, ...] | None, ...]


class Layout:
    """A mesh, and which logical axis is cut over which of its axes. Hashable.

    Attributes:
        mesh: the devices, their axes left to the compiler.
        rules: pairs of a logical axis and a mesh axis, several of them, or None; of
            those that fit an axis the first holds, and no mesh axis cuts an array
            twice.
    """

    mesh: Mesh | AbstractMesh
    rules: Rules

    def __init__(
        self,
        mesh: Mesh | AbstractMesh,
        rules: str | Mapping[str, Any] | Iterable[Rule],
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        """Makes a layout.

        Args:
            mesh: the devices, with axes of any type. Of an abstract one, which has
                none, the shapes of the parts are told.
            rules: a preset's name, see `preset_rules`; a mapping; or pairs.
            names: the logical axes that there are; any unless given.

        Raises:
            TypeError: for a mesh, or rules, of another kind.
            ValueError: if a rule names an axis that there is not, or no rule names an
                axis of the mesh.
        """
        if not isinstance(mesh, Mesh | AbstractMesh):
            kind = type(mesh).__name__
            raise TypeError(f"mesh must be a jax.sharding.Mesh, got {kind}")
        self.mesh = automatic_mesh(mesh) if isinstance(mesh, Mesh) else mesh
        self.rules = (
            preset_rules(rules, mesh) if isinstance(rules, str) else _pairs(rules)
        )
        _check_rules(self.mesh, self.rules, names)

    def __eq__(self, other: object) -> bool:
        """Whether it is the same devices and the same rules."""
        if not isinstance(other, Layout):
            return NotImplemented
        return self.mesh == other.mesh and self.rules == other.rules

    def __hash__(self) -> int:
        """Of the mesh and the rules."""
        return hash((self.mesh, self.rules))

    def __repr__(self) -> str:
        """The axes of the mesh and the rules."""
        return f"Layout({dict(self.mesh.shape)}, {dict(self.rules)})"

    def spec(self, axes: Axes) -> PartitionSpec:
        """The mesh axes of an array's axes.

        Args:
            axes: the names.

        Returns:
            The partition spec.
        """
        return _spec(self.rules, axes)

    def sharding(
        self,
        axes: Axes,
        shape: tuple[int, ...],
        what: str = "the array",
        sizes: Mapping[str, int] | None = None,
    ) -> NamedSharding:
        """Where an array lies.

        Args:
            axes: the names of its axes.
            shape: its shape.
            what: what it is called, for errors.
            sizes: how many of a logical axis there are, where its axis in the array has
                several numbers of each, as a projection to heads has.

        Returns:
            The sharding.

        Raises:
            ValueError: if the names are not as many as the axes, or a size does not
                divide.
        """
        if len(axes) != len(shape):
            raise ValueError(
                f"{what} has {len(shape)} axes, {shape}, and {len(axes)} names, {axes}"
            )
        spec = self.spec(axes)
        for name, size, over in zip(axes, shape, spec, strict=True):
            counted = (sizes or {}).get(name, size) if isinstance(name, str) else size
            self._check_divides(what, name, counted, over)
        return NamedSharding(self.mesh, spec)

    def check(self, what: str, name: str, size: int) -> None:
        """Checks that a logical axis of a size can be cut as the rules say.

        Args:
            what: what it is the axis of, for errors.
            name: the logical axis.
            size: its size.

        Raises:
            ValueError: if it cannot.
        """
        self._check_divides(what, name, size, *self.spec((name,)))

    def constrain(self, x: Any, axes: Axes) -> Any:
        """Says inside `jax.jit` where an array lies.

        The compiler chooses for what nothing is said of, and sometimes finds no way: a
        fused attention wants queries, keys and values to be cut alike.

        Args:
            x: the array; any other leaf is returned as it is.
            axes: the names of its axes. One that the size does not divide is whole.

        Returns:
            The array.
        """
        manual = jax.sharding.get_abstract_mesh().manual_axes
        if not isinstance(x, Tracer) or x.ndim != len(axes) or manual:
            return x
        if jax.sharding.get_abstract_mesh().explicit_axes:
            return x  # An array's type says it there, and JAX checks it.
        return jax.lax.with_sharding_constraint(x, self.fitting(axes, x.shape))

    def fitting(self, axes: Axes, shape: tuple[int, ...]) -> NamedSharding:
        """Where an array lies, whole along axes that the devices do not divide.

        Args:
            axes: the names of its axes.
            shape: its shape.

        Returns:
            The sharding.
        """
        fits = [
            over if size % self._devices(over) == 0 else None
            for size, over in zip(shape, self.spec(axes), strict=True)
        ]
        return NamedSharding(self.mesh, PartitionSpec(*fits))

    def place(self, tree: Any, axes: Callable[[str, Any], Axes]) -> Any:
        """Puts arrays where they belong; structs get their sharding.

        Args:
            tree: pytree of arrays or `jax.ShapeDtypeStruct`.
            axes: from an array's name in the tree, with dots, and the array, to the
                names of its axes.

        Returns:
            The tree.

        Raises:
            ValueError: see `sharding`.
        """

        def put(path: Any, x: Any) -> Any:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            where = self.sharding(axes(name, x), x.shape, name or "the array")
            if isinstance(x, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
            return put_there(x, where)

        return jax.tree_util.tree_map_with_path(put, tree)

    def check_placed(self, tree: Any, what: str) -> None:
        """Checks that arrays lie on the mesh.

        Args:
            tree: pytree of arrays; those that are traced, or no arrays yet, pass.
            what: what they are, for errors.

        Raises:
            ValueError: if one lies elsewhere.
        """
        if all(map(self._holds, jax.tree.leaves(tree))):
            return
        for path, x in jax.tree_util.tree_leaves_with_path(tree):
            if not self._holds(x):
                name = jax.tree_util.keystr(path, simple=True, separator=".")
                raise ValueError(
                    f"{what} {name!r} is not on the mesh {dict(self.mesh.shape)} of "
                    f"the rules but on {told(x.sharding)}: place_params or "
                    "load_params(mesh=, rules=) put all of them there"
                )

    def _holds(self, x: Any) -> bool:
        if not isinstance(x, jax.Array) or isinstance(x, Tracer):
            return True
        where = x.sharding
        if not isinstance(where, NamedSharding):
            return False
        return where.mesh is self.mesh or _devices_of(where) == _all_of(self.mesh)

    def _devices(self, over: Any) -> int:
        axes = over if isinstance(over, tuple) else (over,)
        return math.prod(self.mesh.shape[axis] for axis in axes if axis is not None)

    def _check_divides(self, what: str, name: Any, size: int, over: Any) -> None:
        devices = self._devices(over)
        if size % devices:
            fit = ""
            if name == "batch":  # A caller has others; of heads there are as many.
                up = devices * (size // devices + 1)
                fits = f"{up - devices} or {up}" if size > devices else f"{up}"
                fit = f"a batch of {fits}, "
            raise ValueError(
                f"the axis {name!r} of {what} has {size}, which the {devices} devices "
                f"of mesh axis {over!r} do not divide: give {fit}a mesh with another "
                f"number there, or rules without {name!r}"
            )


@functools.lru_cache(maxsize=1024)
def _spec(rules: Rules, axes: Axes) -> PartitionSpec:
    # Flax brings half a second of imports along, which a single device does not need.
    from flax.linen.spmd import logical_to_mesh_axes

    merged = [axis if isinstance(axis, tuple) else (axis,) for axis in axes]
    flat = logical_to_mesh_axes([name for group in merged for name in group], rules)
    found = iter(flat or ())
    spec = []
    for group in merged:
        over: list[str] = []
        for _ in group:
            one = next(found)
            over += [one] if isinstance(one, str) else one or ()
        spec.append(over[0] if len(over) == 1 else tuple(over) or None)
    return PartitionSpec(*spec)


def _pairs(rules: Any) -> Rules:
    pairs = rules.items() if isinstance(rules, Mapping) else rules
    try:
        return tuple(
            (name, tuple(over) if isinstance(over, list) else over)
            for name, over in pairs
        )
    except (TypeError, ValueError):
        raise TypeError(
            "rules must be a preset's name, a mapping from logical axis to mesh axis, "
            f"or pairs of both; got {rules!r}"
        ) from None


def _check_rules(
    mesh: Mesh | AbstractMesh, rules: Rules, names: Sequence[str] | None
) -> None:
    named = set()
    for name, over in rules:
        if names is not None and name not in names:
            raise ValueError(unknown_name("logical axis in rules", name, names))
        for axis in over if isinstance(over, tuple) else (over,):
            if axis is not None and axis not in mesh.axis_names:
                raise ValueError(
                    f"rules send {name!r} to an "
                    + unknown_name("mesh axis", axis, mesh.axis_names)
                )
            named.add(axis)
    for axis, size in mesh.shape.items():
        if axis not in named and size > 1:
            raise ValueError(
                f"no rule names the mesh axis {axis!r}, whose {size} devices would all "
                f"do the same: add one, such as ('batch', {axis!r}), or give a mesh "
                "without it"
            )


@functools.lru_cache(maxsize=256)
def _devices_of(where: NamedSharding) -> tuple[Any, ...]:
    return _all_of(where.mesh) if isinstance(where.mesh, Mesh) else ()


def _all_of(mesh: Mesh | AbstractMesh) -> tuple[Any, ...]:
    return tuple(mesh.devices.flat) if isinstance(mesh, Mesh) else ()


def layout_of(mesh: Mesh | None, rules: Any) -> Layout | None:
    """The layout that two arguments ask for; None without rules.

    Args:
        mesh: the devices, or None.
        rules: see `Layout`, for the axes of bundled models; or None.

    Returns:
        The layout.

    Raises:
        TypeError: see `Layout`.
        ValueError: likewise; or if there are rules and no mesh.
    """
    if rules is None:
        return None
    if mesh is None:
        raise ValueError("rules= needs mesh=, the devices that they are about")
    return Layout(mesh, rules, names=LOGICAL_AXES)


def spread_rows(model: Any, tree: Any) -> Any:
    """Pins the rows of a batch to the devices that they belong to.

    Args:
        model: the model; one without a layout changes nothing.
        tree: pytree of [batch, ...] arrays.

    Returns:
        The tree.
    """
    layout = getattr(model, "layout", None)
    if layout is None:
        return tree
    return jax.tree.map(
        lambda x: layout.constrain(x, ("batch", *(None,) * (x.ndim - 1))), tree
    )
