"""Dynamic mode decomposition: extrapolate by the eigenvalues of the last steps."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.check import static_count
from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.forecasts.base import Point, wide

# Two for each pair of conjugate eigenvalues, and one more pair to fit them to.
_FEWEST = 4
# Of the largest singular value: what is smaller is noise.
_NOISE = 1e-4
# cache-dit keeps no slope of what is computed before this step.
_FIRST_SLOPE = 3


class DMDMemory(NamedTuple):
    """Memory of `DMD`.

    Attributes:
        values: ``history`` computed arrays, the oldest first.
        steps: int32[history], where they were computed.
        known: int32 scalar, how many there are.
        window: int32 scalar, how many of the newest are evenly spaced.
        propagator: [batch, modes, modes], one spacing in the modes' coordinates.
        modes: [batch, history - 1, modes], each as weights of all values but the first.
        here: [batch, modes], the newest value in them.
    """

    values: tuple[jax.Array, ...]
    steps: jax.Array
    known: jax.Array
    window: jax.Array
    propagator: jax.Array
    modes: jax.Array
    here: jax.Array


@register_dataclass
@dataclass(frozen=True)
class DMD:
    """A sum of exponentials through the last evenly spaced values.

    Schmid 2010, "Dynamic mode decomposition of numerical and experimental data", as
    cache-dit 1.5.3 forecasts with it: the linear map from each value to the next is
    fitted, for each sample of the batch by itself, and raised to the power of how far
    to go. With fewer than four evenly spaced values it is a line, through the last and
    the one two before it, over the last spacing, as there. The fit takes one pass over
    the values in float32 and small matrices, whose eigenvalues the host finds. To a
    derivative the fit is a constant, as decisions are. Remembers ``history`` values.

    Attributes:
        history: values that are kept, at least 4.
        rank: most modes; 0 for all whose singular value is above 1e-4 of the largest.
        ridge: float32, added to the singular values that are divided by.
    """

    history: int = field(default=6, metadata={"static": True})
    rank: int = field(default=0, metadata={"static": True})
    ridge: ArrayLike = 1e-8

    def __post_init__(self) -> None:
        """Checks the counts.

        Raises:
            ValueError: if one is too small or no whole number.
        """
        history = static_count("a DMD forecast's history", self.history)
        if history < _FEWEST:
            raise ValueError(
                f"a DMD forecast's history is {history}; at least {_FEWEST} values "
                "have a fit"
            )
        object.__setattr__(self, "history", history)
        rank = static_count("a DMD forecast's rank", self.rank)
        object.__setattr__(self, "rank", rank)

    def init(self, like: jax.Array) -> DMDMemory:
        """See `Forecast.init`."""
        batch, modes = like.shape[0], self.history - 1
        kind = wide(jnp.zeros((), like.dtype)).dtype
        return DMDMemory(
            tuple(jnp.zeros_like(like) for _ in range(self.history)),
            jnp.zeros(self.history, jnp.int32),
            jnp.zeros((), jnp.int32),
            jnp.zeros((), jnp.int32),
            jnp.zeros((batch, modes, modes), kind),
            jnp.zeros((batch, modes, modes), kind),
            jnp.zeros((batch, modes), kind),
        )

    def record(self, memory: DMDMemory, at: Point, velocity: jax.Array) -> DMDMemory:
        """See `Forecast.record`; here the map is fitted."""
        values = (*memory.values[1:], velocity)
        steps = jnp.concatenate([memory.steps[1:], at.step[None]])
        known = jnp.minimum(memory.known + 1, self.history)
        even = (jnp.diff(steps) == steps[-1] - steps[-2])[::-1]
        alike = jnp.cumprod(even.astype(jnp.int32), dtype=jnp.int32).sum(
            dtype=jnp.int32
        )
        window = jnp.minimum(alike + 1, known)
        place = jnp.arange(self.history, dtype=jnp.int32)
        inside = place >= self.history - window
        # Singular vectors have no derivative where two singular values are the same.
        triangle = _triangle(jax.lax.stop_gradient(values), inside)
        fit = self._fit(triangle, window, inside[:-1])
        return DMDMemory(values, steps, known, window, *fit)

    def predict(self, memory: DMDMemory, at: Point) -> jax.Array:
        """See `Forecast.predict`; what is not finite holds the last value."""
        last = memory.values[-1]
        spacing = jnp.maximum(memory.steps[-1] - memory.steps[-2], 1)
        reach = (at.step - memory.steps[-1]).astype(jnp.float32) / spacing.astype(
            jnp.float32
        )
        propagator, modes, here = jax.lax.stop_gradient(memory[-3:])
        power = _real_power(propagator, reach)
        fitted = jnp.einsum("bij,bjk,bk->bi", modes, power, here)
        sloped = memory.known >= 3
        sloped &= memory.steps[-1] >= _FIRST_SLOPE
        slope = jnp.where(sloped, reach, 0.0).astype(fitted.dtype)
        line = jnp.zeros_like(fitted).at[:, -1].set(1 + slope).at[:, -3].set(-slope)
        weights = jnp.where(memory.window >= _FEWEST, fitted, line)
        weights = weights.reshape(*weights.shape, *(1,) * (last.ndim - 1))
        terms = [weights[:, i] * wide(x) for i, x in enumerate(memory.values[1:])]
        found = functools.reduce(jnp.add, terms).astype(last.dtype)
        axes = tuple(range(1, last.ndim))
        finite = jnp.isfinite(found).all(axis=axes, keepdims=True)
        return jnp.where(finite, found, last)

    def _fit(
        self, triangle: jax.Array, window: jax.Array, pairs: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The map between neighbours; see `DMDMemory` for what is returned."""
        count = self.history - 1
        paired = jnp.broadcast_to(pairs, triangle[..., 1:].shape)
        before = jnp.where(paired, triangle[..., :-1], 0.0)
        after = jnp.where(paired, triangle[..., 1:], 0.0)
        u, sizes, v = jnp.linalg.svd(before, full_matrices=False)
        large = (sizes > _NOISE * sizes[:, :1]).sum(axis=1, dtype=jnp.int32)
        most = large if self.rank == 0 else jnp.full_like(large, self.rank)
        most = jnp.clip(most, 1, jnp.maximum(window - 1, 1))
        kept = jnp.arange(count, dtype=jnp.int32)[None] < most[:, None]
        ridge = jnp.asarray(self.ridge, sizes.dtype)
        inverse = jnp.where(kept, 1 / (jnp.where(kept, sizes, 1.0) + ridge), 0.0)
        modes = v.swapaxes(1, 2) * inverse[:, None]
        moved = after @ modes
        propagator = jnp.where(kept[:, None], u, 0.0).swapaxes(1, 2) @ moved
        here = jax.vmap(lambda a, b: jnp.linalg.lstsq(a, b)[0])(
            moved, triangle[..., -1]
        )
        return propagator, modes, here


def _triangle(values: tuple[jax.Array, ...], inside: jax.Array) -> jax.Array:
    """R of a QR of the values of each sample, [batch, count, count].

    By Gram and Schmidt, one after the other: as exact for R as reflections are, and
    nothing but sums and products over arrays, however they are spread over devices.
    """
    rest = [
        jnp.where(inside[i], wide(value), 0.0).reshape(value.shape[0], -1)
        for i, value in enumerate(values)
    ]
    rows = []
    for i in range(len(rest)):
        size = jnp.sqrt((rest[i] * rest[i]).sum(axis=1))
        unit = rest[i] / jnp.where(size > 0, size, 1.0)[:, None]
        row = [jnp.zeros_like(size)] * i + [size]
        for j in range(i + 1, len(rest)):
            share = (unit * rest[j]).sum(axis=1)
            rest[j] = rest[j] - share[:, None] * unit
            row.append(share)
        rows.append(jnp.stack(row, axis=-1))
    return jnp.stack(rows, axis=-2)


def _real_power(matrix: jax.Array, exponent: jax.Array) -> jax.Array:
    """The real part of [batch, n, n] matrices to the power of a scalar, at least 0.

    By their eigenvalues, on the principal branch; those of 0 stay 0.
    """
    values, vectors = jnp.linalg.eig(matrix)
    still = values == 0
    logs = jnp.log(jnp.where(still, 1, values))
    raised = jnp.exp(exponent.astype(logs.dtype) * logs)
    scaled = jnp.where(still, 0, raised)[:, None] * vectors
    # scaled @ inverse(vectors)
    left, right = (x.swapaxes(1, 2) for x in (vectors, scaled))
    return jnp.linalg.solve(left, right).swapaxes(1, 2).real
