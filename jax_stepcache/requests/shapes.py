"""Requests whose sizes differ: each size is a program, and a batch, of its own."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import batch_size, dtype_of, structs_of
from jax_stepcache.errors import brief, unknown_name
from jax_stepcache.loop.generation import Generation
from jax_stepcache.network.params import Params
from jax_stepcache.options import Request

EACH = "each"

Shapes = str | tuple[tuple[int, ...], ...] | None
"""See `check_shapes`."""


def check_shapes(shapes: Any) -> Shapes:
    """Checks which sizes requests may have.

    Args:
        shapes: None, one for all; ``"each"``, any; or those that there may be, a
            sequence of shapes of a sample without its axis of rows, such as ``[(16, 21,
            60, 104), (16, 21, 90, 160)]``.

    Returns:
        The same, of tuples.

    Raises:
        ValueError: if it is something else.
        TypeError: likewise.
    """
    if shapes is None:
        return None
    if isinstance(shapes, str):
        if shapes != EACH:
            raise ValueError(unknown_name("shapes", shapes, [EACH]))
        return shapes
    try:
        made = tuple(tuple(int(n) for n in shape) for shape in shapes)
    except TypeError:
        raise TypeError(
            f"shapes is {brief(shapes)}; give 'each', or shapes of a sample without "
            "its axis of rows: [(16, 21, 60, 104), ...]"
        ) from None
    if not made or any(n < 1 for shape in made for n in shape):
        raise ValueError(f"shapes is {brief(shapes)}; give at least one, of lengths")
    return made


def fitted(params: Any, request: Request, shapes: Shapes) -> Any:
    """The params for a request: a model that is made for a size, for the request's.

    Args:
        params: see `sample_many`.
        request: the request.
        shapes: see `check_shapes`.

    Returns:
        The params; as they are where all requests have one size, where the request does
        not say its own, or the model has none.

    Raises:
        ValueError: for a size that is none of ``shapes``, or none of the model's.
    """
    given = request.init_sample if request.noise is None else request.noise
    if shapes is None or given is None:
        return params
    leaves = jax.tree.leaves(structs_of(given))
    if isinstance(shapes, tuple):
        batch_size(given, "noise")
        for own in (x.shape[1:] for x in leaves):
            if own not in shapes:
                raise ValueError(
                    f"a sample of shape {list(own)} is none of shapes, which has "
                    f"{[list(shape) for shape in shapes]}, without the axis of rows"
                )
    sized = getattr(getattr(params, "model", None), "sized", None)
    if not isinstance(params, Params) or sized is None:
        return params
    return Params(params.weights, sized(structs_of(given)))


def grouped(requests: Sequence[Generation], shapes: Shapes) -> list[list[int]]:
    """Which requests go together.

    Args:
        requests: all of them.
        shapes: see `check_shapes`.

    Returns:
        Indices of each group, in the order of its first; one group unless sizes may
        differ.
    """
    if shapes is None:
        return [list(range(len(requests)))]
    groups: dict[Hashable, list[int]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(_size(request), []).append(index)
    return list(groups.values())


def _size(request: Generation) -> Hashable:
    """Structure and shapes of what a request is made of."""
    noise = request.noise
    if noise is None:
        noise = request.program.model.noise_struct(1)
    leaves, structure = jax.tree.flatten((request.inputs, noise))
    return structure, tuple((np.shape(x), str(dtype_of(x))) for x in leaves)
