"""Rules by name: which logical axis goes to which axis of a mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from jax.sharding import AbstractMesh, Mesh

from jax_stepcache.errors import unknown_name

# A logical axis, and the mesh axis, several of them, or none, that it is cut over.
Rule = tuple[str, str | tuple[str, ...] | None]
Rules = tuple[Rule, ...]
AnyMesh = Mesh | AbstractMesh

LOGICAL_AXES = ("batch", "branch", "heads", "mlp", "embed", "layers", "frames")
"""What the bundled models call the axes of their weights and activations."""

# The guidance branches lie on so many groups of devices.
_BRANCHES = 2


def preset_rules(name: str, mesh: AnyMesh) -> Rules:
    """The rules of a name, for the axes of a mesh.

    Args:
        name: ``"tensor"``, heads and the feed-forward's hidden units over the last axis
            and samples over the others (Megatron's cut); ``"branches"``, the guidance
            branches over the first axis, which has two devices, and each branch as
            ``"tensor"`` has it over the others; ``"data"``, samples over all axes; or
            ``"fsdp"``, for training: samples over all axes, and the width of the
            weights over the last.
        mesh: the devices.

    Returns:
        The rules; they name every axis of the mesh.

    Raises:
        ValueError: for another name, or a mesh that the preset does not fit.
    """
    if name not in PRESETS:
        raise ValueError(unknown_name("rules", name, PRESETS))
    return PRESETS[name](mesh)


def _tensor(mesh: AnyMesh) -> Rules:
    *samples, parts = mesh.axis_names
    return (*_over(samples), ("heads", parts), ("mlp", parts))


def _branches(mesh: AnyMesh) -> Rules:
    first, *others = mesh.axis_names
    size = mesh.shape[first]
    if size != _BRANCHES:
        raise ValueError(
            "rules='branches' puts the two guidance branches on the mesh's first axis, "
            f"{first!r}, which has {size} device{'s' * (size != 1)}: give "
            f"jax.make_mesh(({_BRANCHES}, {max(mesh.size // _BRANCHES, 1)}), "
            "('branch', 'tensor'))"
        )
    if not others:
        return (("branch", first),)
    *samples, parts = others
    return (("branch", first), *_over(samples), ("heads", parts), ("mlp", parts))


def _data(mesh: AnyMesh) -> Rules:
    return _over(mesh.axis_names)


def _fsdp(mesh: AnyMesh) -> Rules:
    return (*_over(mesh.axis_names), ("embed", mesh.axis_names[-1]))


def _over(axes: tuple[str, ...] | list[str]) -> Rules:
    return (("batch", tuple(axes)),) if axes else ()


PRESETS: Mapping[str, Callable[[AnyMesh], Rules]] = MappingProxyType(
    {"tensor": _tensor, "branches": _branches, "data": _data, "fsdp": _fsdp}
)


def shape_for(name: str | None, devices: int) -> AbstractMesh:
    """The mesh that a preset is usually given, without devices.

    Args:
        name: the preset's; None for no rules.
        devices: how many.

    Returns:
        One axis; or for ``"branches"`` one of two devices, and another for the rest.

    Raises:
        ValueError: if there is no such mesh of so many.
    """
    if name != "branches":
        return AbstractMesh((devices,), (name or "devices",))
    if devices % _BRANCHES:
        raise ValueError(
            "rules='branches' puts the guidance branches on two groups of devices; of "
            f"{devices} there are no two groups: take an even number of them"
        )
    if devices == _BRANCHES:
        return AbstractMesh((_BRANCHES,), ("branch",))
    return AbstractMesh((_BRANCHES, devices // _BRANCHES), ("branch", "tensor"))
