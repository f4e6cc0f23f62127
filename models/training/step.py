"""One optimiser step: gradients, their mean over parts of a batch, averaged weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

# (trained, frozen, batch, key) -> loss and its parts. Hashable: it is static.
Loss = Callable[[Any, Any, Any, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


class TrainState(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        step: int32 scalar, steps taken.
        trained: the weights being trained.
        averaged: their exponential moving average, the ones to use.
        optimizer: the optimiser's state.
    """

    step: jax.Array
    trained: Any
    averaged: Any
    optimizer: Any


def init_state(trained: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    averaged = jax.tree.map(jnp.copy, trained)
    return TrainState(
        jnp.zeros((), jnp.int32), trained, averaged, optimizer.init(trained)
    )


@functools.partial(
    jax.jit,
    static_argnames=("loss", "optimizer", "decay", "accumulate"),
    donate_argnums=0,
)
def train_step(
    state: TrainState,
    frozen: Any,
    batch: Any,
    key: jax.Array,
    *,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    decay: float,
    accumulate: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Takes one optimiser step.

    Args:
        state: the state; its buffers are reused.
        frozen: what the loss needs besides, and is not trained.
        batch: pytree of [rows, ...] arrays; its rows are split into ``accumulate``
            parts.
        key: a PRNG key.
        loss: see `Loss`.
        optimizer: the optimiser.
        decay: of the averaged weights.
        accumulate: parts whose gradients are averaged before the step, so that memory
            is that of one part.

    Returns:
        The new state, and the parts of the loss.
    """
    gradient = jax.grad(loss, has_aux=True)

    def part(total: Any, one: Any) -> tuple[Any, Any]:
        rows, key = one
        gradients, losses = gradient(state.trained, frozen, rows, key)
        return jax.tree.map(jnp.add, total, gradients), losses

    if accumulate == 1:
        gradients, losses = gradient(state.trained, frozen, batch, key)
    else:
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)
        keys = jax.random.split(key, accumulate)
        zeros = jax.tree.map(jnp.zeros_like, state.trained)
        gradients, losses = jax.lax.scan(part, zeros, (parts, keys))
        gradients = jax.tree.map(lambda x: x / accumulate, gradients)
        losses = jax.tree.map(lambda x: x.mean(axis=0), losses)
    updates, optimizer_state = optimizer.update(
        gradients, state.optimizer, state.trained
    )
    trained = optax.apply_updates(state.trained, updates)
    # Early on, an average over few steps: the first weights are noise.
    decay_now = jnp.minimum(decay, (1 + state.step) / (10 + state.step))
    averaged = jax.tree.map(
        lambda old, new: (decay_now * old + (1 - decay_now) * new).astype(old.dtype),
        state.averaged,
        trained,
    )
    return TrainState(state.step + 1, trained, averaged, optimizer_state), losses
