"""Numbers that stand for "nothing was looked at" or "no limit", and JAX's checks.

A NaN says that a step compared nothing, an infinity that there is no cap. Under
``jax_debug_nans`` and ``jax_debug_infs`` JAX looks for both in every floating array
that a program returns, and takes them for the network's. So where such numbers leave a
program they leave it as their bits, which are integers, and come back bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike

from jax_stepcache.nodes import register_dataclass

_CHECKS = ("jax_debug_nans", "jax_debug_infs")

NOTHING = int(np.float32(np.nan).view(np.int32))
"""The bits of the float32 that says that nothing was looked at."""


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Keeps JAX's checks from operations that make such numbers, or pass them on.

    While a function is traced it changes nothing.
    """
    with jax.debug_nans(False), jax.debug_infs(False):
        yield


def bits(number: Any) -> jax.Array:
    """The bits of a number, taken as float32, as an int32."""
    with unchecked():
        number = jnp.asarray(number, jnp.float32)
        return jax.lax.bitcast_convert_type(number, jnp.int32)


def of_bits(given: Any) -> Any:
    """The float32 numbers of these bits; what is no int32 array is returned as it is.

    Args:
        given: an array, on the host, on a device or traced, or the struct of one.

    Returns:
        The same kind of array; but on the host while JAX checks what operations on a
        device give, and taking one number of a row is such an operation.
    """
    if getattr(given, "dtype", None) != np.int32:
        return given
    if isinstance(given, np.ndarray | np.generic):
        return given.view(np.float32)
    if isinstance(given, jax.ShapeDtypeStruct):
        return given.update(dtype=np.float32)
    watched = any(getattr(jax.config, name, False) for name in _CHECKS)
    if watched and not isinstance(given, Tracer) and given.is_fully_addressable:
        return jax.device_get(given).view(np.float32)
    with unchecked():
        return jax.lax.bitcast_convert_type(given, jnp.float32)


class ReadAsNumbers:
    """A base of named tuples that have bits for leaves, and names that decode them.

    By index and in a loop, too, they hold numbers; only JAX, which looks at the tuple
    itself, finds the leaves.
    """

    __slots__ = ()
    _fields: tuple[str, ...]

    def leaf(self, name: str) -> Any:
        """A field as JAX sees it."""
        return tuple.__getitem__(self, self._fields.index(name))  # pyright: ignore

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._fields)

    def __getitem__(self, index: Any) -> Any:
        return tuple(self)[index]

    def __getnewargs__(self) -> tuple[Any, ...]:
        """What a copy is made of, by `copy` and by `pickle`: the leaves."""
        return tuple(map(self.leaf, self._fields))

    def _asdict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._fields}

    def _replace(self, **fields: Any) -> Any:
        leaves = {name: self.leaf(name) for name in self._fields}
        return type(self)(**{**leaves, **fields})


@register_dataclass
@dataclass(frozen=True)
class Bits:
    """A floating array as its bits.

    Attributes:
        bits: an array of unsigned integers of the same width.
        dtype: of the floating array.
    """

    bits: Any
    dtype: DTypeLike = field(metadata={"static": True})


def as_bits(tree: Any, most_axes: int | None = None) -> Any:
    """A tree whose floating arrays are `Bits`.

    Args:
        tree: any pytree of arrays.
        most_axes: arrays with more of them are left as they are; None for no limit.

    Returns:
        The tree.
    """

    def hide(x: Any) -> Any:
        floating = jnp.issubdtype(jnp.result_type(x), jnp.floating)
        if not floating or (most_axes is not None and jnp.ndim(x) > most_axes):
            return x
        x = jnp.asarray(x)
        return Bits(jax.lax.bitcast_convert_type(x, f"uint{8 * x.itemsize}"), x.dtype)

    return jax.tree.map(hide, tree)


def as_numbers(tree: Any) -> Any:
    """The inverse of `as_bits`."""

    def show(x: Any) -> Any:
        if not isinstance(x, Bits):
            return x
        return jax.lax.bitcast_convert_type(x.bits, x.dtype)

    return jax.tree.map(show, tree, is_leaf=lambda x: isinstance(x, Bits))
