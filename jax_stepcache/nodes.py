"""Dataclasses as nodes of pytrees, which tell one class from another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def register_dataclass(cls: type[T]) -> type[T]:
    """Registers a dataclass as a pytree; see `jax.tree_util.register_dataclass`.

    JAX's own function makes nodes whose class is not compared: the structures of two
    classes with as many fields are *equal*, and differ in their hashes alone (jax 0.10
    to 0.12). ``jax.jit`` looks programs up by both, and about once in 128 pairs of
    classes takes the program of the one for the other's: a forecast in log-SNR then
    runs as the line in time, in silence. So parts of a policy, which stand in for one
    another, are registered by this function.

    Args:
        cls: the dataclass; a field with ``metadata={"static": True}`` is static, and
            must have a hash, and all others are children.

    Returns:
        The class.

    Raises:
        TypeError: for what is no dataclass, or has a field that its constructor does
            not take.
    """
    kind: Any = cls
    if not is_dataclass(kind):
        raise TypeError(f"{cls!r} is no dataclass; put @dataclass(frozen=True) below")
    own = fields(kind)
    for one in own:
        if not one.init:
            raise TypeError(f"{cls.__name__}.{one.name} is no argument (init=False)")
    told = {one.name: bool(one.metadata.get("static")) for one in own}
    data = tuple(name for name, static in told.items() if not static)
    static = tuple(name for name, static in told.items() if static)
    keys = tuple(jax.tree_util.GetAttrKey(name) for name in data)

    def flatten(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return _read(node, data), _read(node, static)

    def flatten_with_keys(node: Any) -> tuple[Iterable[Any], tuple[Any, ...]]:
        return zip(keys, _read(node, data), strict=True), _read(node, static)

    jax.tree_util.register_pytree_with_keys(
        cls, flatten_with_keys, _maker(cls, data, static), flatten
    )
    return cls


def parts_of(tree: Any) -> int:
    """A mark of a tree's structure, which differs wherever a class does.

    Static beside a tree of parts of people's own, which JAX may have registered, it
    keeps `jax.jit` from taking one for another; see `register_dataclass`.

    Args:
        tree: a pytree.

    Returns:
        The hash of its structure.
    """
    return hash(jax.tree.structure(tree))


def _read(node: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple([getattr(node, name) for name in names])


def _maker(
    cls: type, data: tuple[str, ...], static: tuple[str, ...]
) -> Callable[[tuple[Any, ...], Iterable[Any]], Any]:
    names = data + static

    def make(told: tuple[Any, ...], children: Iterable[Any]) -> Any:
        return cls(**dict(zip(names, (*children, *told), strict=True)))

    return make
