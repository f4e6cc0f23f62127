"""A straight line through the last two recorded values, for the linear forecasts."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.policy.forecasts.base import wide


class Line(NamedTuple):
    """The last two values and where they were taken.

    Attributes:
        last: the newest value.
        before: the value before it.
        at_last: float32 scalar, the coordinate of ``last``.
        at_before: float32 scalar, the coordinate of ``before``.
        recorded: int32 scalar, values recorded so far, at most 2.
    """

    last: jax.Array
    before: jax.Array
    at_last: jax.Array
    at_before: jax.Array
    recorded: jax.Array

    @classmethod
    def empty(cls, like: jax.Array) -> Line:
        """A line without points for values of this shape and dtype."""
        # One array for each leaf: buffers that alias cannot be donated apart.
        return cls(
            jnp.zeros_like(like),
            jnp.zeros_like(like),
            jnp.zeros((), jnp.float32),
            jnp.zeros((), jnp.float32),
            jnp.zeros((), jnp.int32),
        )

    def record(self, value: jax.Array, at: jax.Array) -> Line:
        """The line after a new value at a coordinate."""
        return Line(
            value, self.last, at, self.at_last, jnp.minimum(self.recorded + 1, 2)
        )

    def extrapolate(
        self, at: jax.Array, damping: jax.Array | float, max_ratio: jax.Array | float
    ) -> jax.Array:
        """The value at a coordinate.

        Args:
            at: the coordinate.
            damping: factor on the slope; 1 is the line itself, 0 holds the last value.
            max_ratio: cap on the distance to the last value over the spacing of the two
                values. A long reach from a short baseline is what goes wrong.

        Returns:
            The line's value; the last value while there are fewer than two.
        """
        spacing = self.at_last - self.at_before
        has_slope = (self.recorded >= 2) & (spacing != 0)
        reach = (at - self.at_last) / jnp.where(has_slope, spacing, 1.0)
        damping, cap = (jnp.asarray(x, jnp.float32) for x in (damping, max_ratio))
        slope = jnp.where(has_slope, damping * jnp.minimum(reach, cap), 0.0)
        last = wide(self.last)
        further = slope.astype(last.dtype) * (last - wide(self.before))
        return (last + further).astype(self.last.dtype)
