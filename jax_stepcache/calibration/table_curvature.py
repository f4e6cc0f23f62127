"""How strongly each number of a table moves the sample: a Gauss-Newton matrix.

By forward mode: as many passes along the sampler as there are numbers, none of which
keeps what was computed on the way. Of networks that have none, fused attention among
them, by reverse mode: some passes back from errors that are drawn at random.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

# Of the mean curvature: where there is less, steps are no longer.
_RIDGE = 1e-3

# For each number of a table. With so many the matrix that is drawn is within a factor
# of two or so of the other in every direction; it only says how long a step should be.
_DRAWN = 4


class Free(NamedTuple):
    """Which numbers of a move are free, and which of them are one.

    Attributes:
        places: int32[free], where each is first in the flat move.
        of: int32[flat], which free number each is; -1 for none.
    """

    places: jax.Array
    of: jax.Array

    def packed(self, moved: Any) -> jax.Array:
        """The free numbers of a move, float32[free]."""
        return ravel_pytree(moved)[0][self.places]

    def unpacked(self, numbers: jax.Array, like: Any) -> Any:
        """The move of free numbers, of a move's structure."""
        _, unravel = ravel_pytree(like)
        return unravel(jnp.where(self.of < 0, 0.0, numbers[self.of]))


def free_of(spaces: Sequence[Any], moved: Any, shared: bool) -> Free:
    """Finds what is free.

    Args:
        spaces: of each output.
        moved: a move, for its shapes.
        shared: whether the outputs share their noise levels.

    Returns:
        What is free: the levels, and of weights those of what is there already.
    """
    found, taken = [], 0
    for space, one in zip(spaces, moved, strict=True):
        calls = len(one.sigmas)
        again = shared and found
        levels = np.arange(calls) + (0 if again else taken)
        taken += 0 if again else calls
        weights = np.full(np.shape(one.weights), -1)
        if space.moves_weights:
            rows = np.tri(*weights.shape, 1, dtype=bool)
            weights[rows] = taken + np.arange(rows.sum())
            taken += int(rows.sum())
        found.append(one._replace(sigmas=levels, weights=weights))
    of = np.concatenate([np.ravel(x) for x in jax.tree.leaves(tuple(found))])
    places = [int(np.flatnonzero(of == i)[0]) for i in range(taken)]
    return Free(jnp.asarray(places, jnp.int32), jnp.asarray(of, jnp.int32))


def scale_of(curvature: np.ndarray) -> np.ndarray:
    """Directions along which a step of one changes the loss alike.

    Args:
        curvature: float64[free, free], of the loss, positive semidefinite.

    Returns:
        float32[free, free], whose columns are the directions.
    """
    values, vectors = np.linalg.eigh(curvature)
    least = _RIDGE * np.mean(np.maximum(values, 0)) + 1e-30
    return (vectors / np.sqrt(np.maximum(values, least))).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def curvature_of(
    ends: Callable[..., Any], numbers: jax.Array, weights: jax.Array, *given: Any
) -> jax.Array:
    """The Gauss-Newton matrix of the loss, of some samples.

    Args:
        ends: ``(numbers, *given)`` to the errors of all outputs: a list of [batch, ...]
            arrays, what was sampled less what it should be. Static.
        numbers: float32[free], where to look.
        weights: float32[outputs, 2], of each output's logarithms of each sample, and of
            that of all together.
        *given: what else the function takes.

    Returns:
        float32[free, free].
    """

    def along(direction: jax.Array) -> Any:
        moving = jax.jvp(lambda n: ends(n, *given), (numbers,), (direction,))[1]
        return [x.reshape(len(x), -1).astype(jnp.float32) for x in moving]

    # One after the other: together they would take as much memory as so many samples.
    every = jax.lax.map(along, jnp.eye(len(numbers), dtype=jnp.float32), batch_size=8)
    total = jnp.zeros((len(numbers),) * 2)
    for moving, by in zip(every, _curved(ends(numbers, *given), weights), strict=True):
        total += jnp.einsum("pbd,qbd,b->pq", moving, moving, by, precision="highest")
    return total


@functools.partial(jax.jit, static_argnums=0)
def curvature_drawn(
    ends: Callable[..., Any], numbers: jax.Array, weights: jax.Array, *given: Any
) -> jax.Array:
    """An estimate of `curvature_of` by reverse mode, right in the mean.

    Of errors that are drawn at random, each independent of the others, the slopes'
    outer product is the matrix in the mean: what they have in common falls out.

    Args:
        ends: see `curvature_of`; so are the others.
        numbers: likewise.
        weights: likewise.
        *given: likewise.

    Returns:
        float32[free, free].
    """
    errors, back = jax.vjp(lambda n: ends(n, *given), numbers)
    scales = [jnp.sqrt(by) for by in _curved(errors, weights)]

    def drawn(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, len(errors))
        wanted = [
            scale.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
            * jax.random.rademacher(k, x.shape, x.dtype)
            for k, x, scale in zip(keys, errors, scales, strict=True)
        ]
        return back(wanted)[0]

    count = _DRAWN * len(numbers)
    # One after the other, as above. The same ones each time: a fit can be repeated.
    slopes = jax.lax.map(drawn, jax.random.split(jax.random.key(0), count))
    return jnp.einsum("kp,kq->pq", slopes, slopes, precision="highest") / count


def has_forward_mode(ends: Callable[..., Any], numbers: jax.Array, *given: Any) -> bool:
    """Whether errors can be derived forwards; by tracing, so nothing is compiled.

    Args:
        ends: see `curvature_of`; so are the others.
        numbers: likewise.
        *given: likewise.
    """

    def along(numbers: jax.Array, *given: Any) -> Any:
        def one(way: jax.Array) -> Any:
            return jax.jvp(lambda n: ends(n, *given), (numbers,), (way,))[1]

        # Several at once, as above: alone, JAX finds out only where it compiles.
        return jax.vmap(one)(numbers[None])

    try:
        jax.eval_shape(along, numbers, *given)
    except (TypeError, NotImplementedError):
        # A custom_vjp is the former, a kernel without a rule the latter.
        return False
    return True


def _curved(errors: Sequence[jax.Array], weights: jax.Array) -> list[jax.Array]:
    """How the loss is curved by each sample's numbers, float32[batch] by output."""
    found = []
    for error, (each, pooled) in zip(errors, weights, strict=True):
        squared = jnp.square(error.astype(jnp.float32)).reshape(len(error), -1)
        size = squared.shape[1]
        squared = jnp.maximum(squared.mean(axis=1), 1e-30)
        share = each / squared + pooled / squared.mean()
        found.append(2 * share / (len(squared) * size))
    return found
