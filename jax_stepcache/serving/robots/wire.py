"""Messages on the wire: msgpack, with openpi's encoding of arrays, and limits.

An array is a map with byte-string keys: ``__ndarray__``, ``data`` (C order), ``dtype``
(NumPy's name) and ``shape``; a scalar has ``__npgeneric__``, ``data`` and ``dtype``.
Nothing is unpickled or evaluated, and what a message says of its size is believed only
as far as its bytes go.
"""

from __future__ import annotations

import math
import re
from typing import Any, cast

import msgpack
import numpy as np

from jax_stepcache.errors import brief

_DTYPE = re.compile(r"[<>|=](?:b1|[iu][1248]|f[248]|U[1-9]\d{0,3})")
_DEPTH = 8
_DIMENSIONS = 8
_ITEMS = 4096  # of all maps and lists of a message
_BYTES = 8192  # of a text: prompts are cleaned, and unknown names compared, bit by bit
_ARRAY_KEYS = {b"__ndarray__", b"data", b"dtype", b"shape"}
_SCALAR_KEYS = {b"__npgeneric__", b"data", b"dtype"}


def pack(message: Any) -> bytes:
    """Encodes a message.

    Args:
        message: None, booleans, numbers, text, bytes, arrays, and maps and lists of
            them.

    Returns:
        The bytes of a binary frame.

    Raises:
        TypeError: for what has no encoding, such as arrays of objects.
    """
    return cast("bytes", msgpack.packb(message, default=_encoded))


def unpack(data: bytes) -> dict[str, Any]:
    """Decodes a message of a robot.

    Args:
        data: a binary frame.

    Returns:
        The message; arrays are views of ``data``, and cannot be written to.

    Raises:
        ValueError: if it is no message, or beyond a limit.
    """
    count = _Count(_ITEMS)
    try:
        message = msgpack.unpackb(
            data,
            object_hook=count.map,
            list_hook=count.list,
            max_array_len=_ITEMS,
            max_map_len=_ITEMS,
            max_str_len=_BYTES,
            max_ext_len=0,
        )
    # What msgpack raises is not all under one roof.
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"the frame is no message: {reason:.200}") from error
    if not isinstance(message, dict):
        raise ValueError(
            f"the message is a {type(message).__name__}; send a map with text keys"
        )
    _check(message, "the message", _DEPTH)
    return message


class _Count:
    """Counts what maps and lists hold, so that few bytes are not many objects."""

    def __init__(self, left: int) -> None:
        self.left = left

    def map(self, held: dict[Any, Any]) -> Any:
        self._take(len(held))
        if b"__ndarray__" in held:
            return _array(held)
        if b"__npgeneric__" in held:
            return _scalar(held)
        return held

    def list(self, held: list[Any]) -> list[Any]:
        self._take(len(held))
        return held

    def _take(self, items: int) -> None:
        # One more for the container itself: empty ones are many objects as well.
        self.left -= 1 + items
        if self.left < 0:
            raise ValueError(
                f"the message has more than {_ITEMS} entries; arrays are for that"
            )


def _array(held: dict[Any, Any]) -> np.ndarray:
    if held.keys() != _ARRAY_KEYS:
        raise ValueError("an array needs the keys __ndarray__, data, dtype and shape")
    dtype, data, shape = _dtype(held[b"dtype"]), held[b"data"], held[b"shape"]
    fits = isinstance(shape, list) and len(shape) <= _DIMENSIONS
    if not fits or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"an array says its shape is {brief(shape)}")
    if not isinstance(data, bytes):
        raise ValueError(f"an array's data is a {type(data).__name__}; send bytes")
    # In Python's numbers: those that a message names may be beyond any other.
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(
            f"an array of {dtype.str} says its shape is {brief(shape)} and has "
            f"{len(data)} bytes"
        )
    array = (
        np.frombuffer(data, dtype).reshape(shape) if data else np.zeros(shape, dtype)
    )
    if dtype.kind == "U" and not _is_text(data, dtype.byteorder):
        raise ValueError("an array of text has characters that are none")
    return array


def _is_text(data: bytes, byteorder: str) -> bool:
    codes = np.frombuffer(data, np.dtype(f"{byteorder}u4"))
    surrogate = (codes >= 0xD800) & (codes < 0xE000)
    return not ((codes > 0x10FFFF) | surrogate).any()


def _scalar(held: dict[Any, Any]) -> Any:
    if held.keys() != _SCALAR_KEYS:
        raise ValueError("a scalar needs the keys __npgeneric__, data and dtype")
    dtype, data = _dtype(held[b"dtype"]), held[b"data"]
    if not isinstance(data, bool | int | float | str):
        raise ValueError(f"a scalar's data is a {type(data).__name__}")
    if isinstance(data, str) != (dtype.kind == "U"):
        raise ValueError(f"a scalar of {dtype.str} has the value {brief(data)}")
    try:
        return dtype.type(data)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"a scalar of {dtype.str} has the value {brief(data)}"
        ) from error


def _dtype(name: Any) -> np.dtype:
    if not isinstance(name, str) or not _DTYPE.fullmatch(name):
        raise ValueError(
            f"dtype {brief(name)} is not sent: booleans, integers, floats and text are"
        )
    return np.dtype(name)


def _check(given: Any, what: str, depth: int) -> None:
    """Checks keys, types and depth."""
    if isinstance(given, dict):
        if not depth:
            raise ValueError(f"the message is nested deeper than {_DEPTH}")
        for key, value in given.items():
            if not isinstance(key, str):
                raise ValueError(f"{what} has the key {brief(key)}; keys are text")
            _check(value, brief(key), depth - 1)
    elif isinstance(given, list):
        if not depth:
            raise ValueError(f"the message is nested deeper than {_DEPTH}")
        for value in given:
            _check(value, what, depth - 1)
    elif not isinstance(
        given, bool | int | float | str | bytes | np.ndarray | np.generic | None
    ):
        raise ValueError(f"{what} is a {type(given).__name__}, which is not sent")


def _encoded(given: Any) -> Any:
    if isinstance(given, np.ndarray | np.generic) and given.dtype.kind in "VOc":
        raise TypeError(f"arrays of dtype {given.dtype} are not sent")
    if isinstance(given, np.ndarray):
        return {
            b"__ndarray__": True,
            b"data": given.tobytes(),
            b"dtype": given.dtype.str,
            b"shape": given.shape,
        }
    if isinstance(given, np.generic):
        return {
            b"__npgeneric__": True,
            b"data": given.item(),
            b"dtype": given.dtype.str,
        }
    raise TypeError(f"a {type(given).__name__} is not sent")
