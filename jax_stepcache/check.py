"""Checks of what users hand in, before anything is compiled."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.errors import brief
from jax_stepcache.processes import gathered


def structs_of(tree: Any) -> Any:
    """Shapes and dtypes of a tree of arrays, or of structs."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), dtype_of(x)), tree)


def dtype_of(x: Any) -> Any:
    """What JAX takes something for: an array, a struct or a Python number."""
    # Asking the array itself is a hundred times quicker than finding out.
    if isinstance(x, jax.Array):
        return x.dtype
    if isinstance(x, np.ndarray | np.generic):
        return jax.dtypes.canonicalize_dtype(x.dtype)
    return jnp.result_type(x)


def fetched(x: Any) -> Any:
    """An array as one of the host, fetched explicitly; anything else as it is.

    What only reads an array, as `numpy.asarray` does, `jax.transfer_guard` may forbid.
    """
    if isinstance(x, list | tuple):
        return [fetched(one) for one in x]
    fetch = isinstance(x, jax.Array) and not isinstance(x, Tracer)
    return gathered(x) if fetch else x


class _Word(str):
    """A word that is shown without quotes inside of a tree."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def check_shapes_of(sample: Any, said: Any, what: str) -> None:
    """Checks that a network's answer has the sample's structure and shapes.

    Args:
        sample: pytree of arrays or structs.
        said: the answer.
        what: it is called in the error.

    Raises:
        ValueError: if it has others, which would be broadcast.
    """
    wanted, given = (
        (jax.tree.structure(tree), [np.shape(x) for x in jax.tree.leaves(tree)])
        for tree in (sample, said)
    )
    if wanted != given:
        raise ValueError(
            f"{what} has shapes {described(said)}; the sample has {described(sample)}"
        )


def described(tree: Any, is_leaf: Any = None) -> str:
    """A tree in the words of its user: its names, and of each array the shape.

    Args:
        tree: any pytree.
        is_leaf: what counts as a leaf, see `jax.tree.map`.

    Returns:
        Such as ``{'action': array [1, 3], 'video': array [1, 6]}``.
    """

    def word(x: Any) -> _Word:
        shape = getattr(x, "shape", None)
        return _Word(type(x).__name__ if shape is None else f"array {list(shape)}")

    return str(jax.tree.map(word, tree, is_leaf=is_leaf))


def check_leaves(tree: Any, what: str) -> None:
    """Checks that a tree holds arrays and numbers, and nothing else.

    Args:
        tree: any pytree.
        what: the name of the argument, for the error.

    Raises:
        TypeError: naming what is none: where it is, and what could be done with it.
    """
    # By types: weights are looked at in each call, and a thousand have one among them.
    kinds = set(map(type, jax.tree.leaves(tree)))
    odd = {kind for kind in kinds if not _holds_numbers(kind)}
    if not odd and np.ndarray not in kinds:
        return
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        if type(x) in odd or (isinstance(x, np.ndarray) and x.dtype.kind in "OUSMm"):
            hint = "what is no array goes into the model, by a closure or a partial"
            if isinstance(x, str | bytes) or getattr(x, "dtype", None) is not None:
                hint = "text goes through an encoder first"
            raise TypeError(
                f"{what}{jax.tree_util.keystr(path)} is {x!r:.60}, of type "
                f"{type(x).__name__}; give arrays or numbers: {hint}"
            )


@functools.lru_cache(maxsize=256)
def _holds_numbers(kind: type) -> bool:
    if issubclass(kind, np.character | np.datetime64 | np.timedelta64 | np.object_):
        return False
    if issubclass(kind, jax.Array | Tracer | np.ndarray | np.generic):
        return True
    if issubclass(kind, bool | int | float | complex | jax.ShapeDtypeStruct):
        return True
    # Arrays of other libraries, and what stands for arrays.
    return hasattr(kind, "__jax_array__") or hasattr(kind, "dtype")


def check_arrays(given: Any, wanted: Any, what: str) -> None:
    """Compares structure, shapes and dtypes with what a model takes.

    Floats of any width do for floats, integers of any width for integers; what is
    neither, such as masks, PRNG keys and complex numbers, must be of the same dtype or,
    being complex, of any width.

    Args:
        given: pytree of arrays.
        wanted: pytree of `jax.ShapeDtypeStruct`.
        what: the name of the argument, for the error.

    Raises:
        ValueError: at the first difference, with both sides of it.
    """
    if isinstance(wanted, jax.ShapeDtypeStruct) and not hasattr(given, "shape"):
        raise ValueError(
            f"{what} is a {type(given).__name__}; give an array of shape {wanted.shape}"
        )
    if jax.tree.structure(given) != jax.tree.structure(wanted):
        raise ValueError(
            f"{what} has structure {described(given)}; the model takes "
            f"{described(wanted)}"
        )
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(given), jax.tree.leaves(wanted), strict=True
    )
    for (path, array), like in pairs:
        name = what + jax.tree_util.keystr(path)
        shape, dtype = np.shape(array), dtype_of(array)
        if shape != like.shape:
            raise ValueError(f"{name} has shape {shape}; the model takes {like.shape}")
        if not _same_kind(dtype, like.dtype):
            raise ValueError(f"{name} has dtype {dtype}; the model takes {like.dtype}")


def _same_kind(dtype: Any, like: Any) -> bool:
    """Whether both are floats, integers or complex numbers, or else the same dtype."""
    for kind in (jnp.floating, jnp.integer, jnp.complexfloating):
        if jnp.issubdtype(like, kind):
            return jnp.issubdtype(dtype, kind)
    return dtype == like


def batch_size(tree: Any, what: str) -> int:
    """The leading dimension that all arrays of a tree share.

    Raises:
        ValueError: if there is no array, or they do not share one.
    """
    shapes = [np.shape(x) for x in jax.tree.leaves(tree)]
    sizes = {shape[0] if shape else None for shape in shapes}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            f"{what} has arrays of shapes {shapes}; all need the same leading batch "
            "dimension"
        )
    size = sizes.pop()
    if not size:
        raise ValueError(f"{what} has a batch of 0; there is nothing to sample")
    return size


def check_floating(tree: Any, what: str) -> None:
    """Checks that every array of a tree holds floats.

    Raises:
        ValueError: naming the one that does not.
    """
    for path, array in jax.tree_util.tree_leaves_with_path(tree):
        dtype = dtype_of(array)
        if not jnp.issubdtype(dtype, jnp.floating):
            name = what + jax.tree_util.keystr(path)
            raise ValueError(f"{name} has dtype {dtype}; it must be floating point")
        if jnp.dtype(dtype).itemsize == 1:
            # JAX adds no such number to another, and a solver does.
            name = what + jax.tree_util.keystr(path)
            raise ValueError(f"{name} has dtype {dtype}; it must have 16 bits or more")


def check_key(key: Any, rows: int = 0) -> None:
    """Checks a PRNG key.

    Args:
        key: what was given for one.
        rows: how many samples there are, of which each may have one; 0 where only one
            key for all will do.

    Raises:
        ValueError: if it is not one key, or one for each.
        TypeError: if it is none at all.
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        raise TypeError(f"key is {key}; give jax.random.key({key})")
    dtype = getattr(key, "dtype", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not typed and dtype != np.uint32:
        raise TypeError(
            f"key is {key!r:.80}, of type {type(key).__name__}; give one PRNG key, "
            "such as jax.random.key(0)"
        )
    if typed and rows and np.shape(key) == (rows,):
        return
    # An old-style key is its words: two, of some generators four.
    shape = np.shape(key) if typed else np.shape(key)[:-1]
    if shape or (not typed and np.shape(key) not in ((2,), (4,))):
        raise ValueError(
            f"key has shape {np.shape(key)}; give one PRNG key, such as "
            "jax.random.key(0)"
            + (f", or one for each of {rows} samples" if rows > 1 else "")
        )


def check_count(what: str, count: Any, least: int = 0) -> None:
    """Checks a whole number.

    Args:
        what: what is counted, for the error.
        count: the number.
        least: the smallest that will do.

    Raises:
        ValueError: if it is smaller, or no whole number. One that is being traced is
            taken as it is.
    """
    if isinstance(count, Tracer):
        return
    number = np.asarray(fetched(count))
    whole = number.shape == () and number.dtype.kind in "iu"
    if not whole or number < least:
        raise ValueError(
            f"{what} is {brief(count)}; it must be a whole number of at least {least}"
        )


def static_count(what: str, count: Any, least: int = 0) -> int:
    """Checks a whole number that is compiled in, and makes a Python number of it.

    Args:
        what: see `check_count`.
        count: likewise.
        least: likewise.

    Returns:
        The number.

    Raises:
        ValueError: see `check_count`.
        TypeError: if it is being traced.
    """
    if isinstance(count, Tracer):
        raise TypeError(f"{what} is being traced; it is compiled in, so give an int")
    check_count(what, count, least)
    return operator.index(count)


def check_flag(what: str, flag: Any) -> None:
    """Checks what is on or off.

    Raises:
        ValueError: if it is neither True nor False.
    """
    if not isinstance(flag, bool | np.bool_):
        raise ValueError(f"{what} is {brief(flag)}; give True or False")


def check_numbers(
    what: str,
    numbers: Any,
    *,
    shape: tuple[int | None, ...] = (),
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
) -> None:
    """Checks a setting that is a number or a row of them; traced ones by shape only.

    Args:
        what: the name of the setting, for the error.
        numbers: what was given.
        shape: its shape, None where any length does.
        above: what all must be greater than.
        least: what all must be at least.
        most: what all must be at most.

    Raises:
        ValueError: naming the setting, what was given and what is allowed.
    """
    if isinstance(numbers, list | tuple) and any(
        isinstance(number, Tracer) for number in numbers
    ):
        return
    given = np.shape(numbers)
    fits = len(given) == len(shape) and all(
        want is None or have == want for have, want in zip(given, shape, strict=True)
    )
    if not fits or 0 in given:
        kind = "a number" if not shape else f"a row of {shape[0] or 'numbers'}"
        raise ValueError(f"{what} is {brief(numbers)}; it must be {kind}")
    if isinstance(numbers, Tracer):
        return
    values = np.asarray(fetched(numbers))
    kind = values.dtype
    if not jnp.issubdtype(kind, jnp.number) or jnp.issubdtype(kind, np.complexfloating):
        raise ValueError(f"{what} is {brief(numbers)}; it must be numeric")
    values = values.astype(np.float64)
    limits = [
        ("finite", np.isfinite(values)),
        (f"above {above}", True if above is None else values > above),
        (f"at least {least}", True if least is None else values >= least),
        (f"at most {most}", True if most is None else values <= most),
    ]
    for rule, kept in limits:
        if not np.all(kept):
            raise ValueError(f"{what} is {brief(numbers)}; it must be {rule}")
