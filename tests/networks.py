"""Denoisers with known answers, and a way to watch a denoiser being called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from jax_stepcache import Schedule, explicit_schedule


class Watched:
    """A denoiser that counts its traces and, if asked to, its real executions.

    Attributes:
        traces: how often Python went through the function.
        rows: leading dimension of ``t`` at the last trace.
        ran: the timestep of each execution, in order.
    """

    def __init__(self, function: Callable[..., Any], executions: bool = False) -> None:
        self.function = function
        self.executions = executions
        self.traces = 0
        self.rows = 0
        self.ran: list[float] = []

    def __call__(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        self.traces += 1
        first = jax.tree.leaves(t)[0]
        self.rows = first.shape[0]
        if self.executions:
            io_callback(self._note, None, first[0], ordered=True)
        return self.function(params, sample, t, condition)

    def _note(self, t: Any) -> None:
        self.ran.append(float(t))


def constant(params: Any, sample: Any, t: Any, condition: Any) -> Any:
    """The same velocity everywhere: ``params``, broadcast to each output."""
    del t, condition
    return jax.tree.map(lambda x: jnp.broadcast_to(params, x.shape), sample)


def turning(params: Any, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
    """A direction that turns by ``condition`` radians for each unit of ``t``.

    With `counted_steps`, two velocities n steps apart have the cosine
    ``cos(n * condition)``.
    """
    del params, x
    angle = t * condition
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def dense(params: Any, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
    """One matrix product, bent by time and condition: [rows, features]."""
    return jnp.tanh(x @ params + (t / 1000)[:, None]) + condition


def counted_steps(num_steps: int = 16) -> Schedule:
    """Evenly falling sigmas; the network is told the index of the step."""
    return explicit_schedule(np.linspace(1, 0, num_steps + 1), np.arange(num_steps))
