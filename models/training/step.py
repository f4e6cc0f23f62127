"""One optimiser step: gradients, their mean over parts of a batch, averaged weights.

A step whose loss, gradient or new weights are not finite is not taken, and none after
it: the state stays the last good one until somebody has looked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .fully_sharded import FullySharded

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


class Soundness(NamedTuple):
    """Whether numbers are still finite.

    Attributes:
        going: bool scalar, whether this step was taken; once False, no later one is.
        parts: bool[accumulate], of which parts loss and gradient are finite.
    """

    going: jax.Array
    parts: jax.Array


def init_state(
    trained: Any,
    optimizer: optax.GradientTransformation,
    layout: FullySharded | None = None,
) -> TrainState:
    """The state before the first step, laid out on a mesh if there is one."""
    if layout is not None:
        fresh = functools.partial(init_state, optimizer=optimizer)
        shardings = layout.shardings(jax.eval_shape(fresh, trained))
        return jax.jit(fresh, out_shardings=shardings)(layout.laid_out(trained))
    averaged = jax.tree.map(jnp.copy, trained)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        fresh = optimizer.init(trained)
    return TrainState(jax.device_put(np.int32(0)), trained, averaged, fresh)


@functools.partial(
    jax.jit,
    static_argnames=("loss", "optimizer", "decay", "accumulate", "layout"),
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
    going: bool | jax.Array = True,
    layout: FullySharded | None = None,
) -> tuple[TrainState, dict[str, jax.Array], Soundness]:
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
        going: `Soundness.going` of the step before.
        layout: where the state lies on a mesh, and what comes of it; None without one.

    Returns:
        The new state, or the same where numbers are not finite; the parts of the loss;
        and whether they are.
    """
    laid_out = (lambda tree: tree) if layout is None else layout.laid_out

    def gradient(*given: Any) -> tuple[tuple[jax.Array, dict[str, jax.Array]], Any]:
        value, gradients = jax.value_and_grad(loss, has_aux=True)(*given)
        # Summed over the devices into parts, not into a whole on each of them.
        return value, laid_out(gradients)

    def part(total: Any, one: Any) -> tuple[Any, Any]:
        rows, key = one
        (value, losses), gradients = gradient(state.trained, frozen, rows, key)
        sound = _finite(value, gradients)
        return jax.tree.map(jnp.add, total, gradients), (losses, sound)

    if accumulate == 1:
        (value, losses), gradients = gradient(state.trained, frozen, batch, key)
        sound = _finite(value, gradients)[None]
    else:
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)
        if layout is not None:
            parts = jax.lax.with_sharding_constraint(parts, layout.parts)
        keys = jax.random.split(key, accumulate)
        zeros = jax.tree.map(jnp.zeros_like, state.trained)
        gradients, (losses, sound) = jax.lax.scan(part, zeros, (parts, keys))
        gradients = jax.tree.map(lambda x: x / accumulate, gradients)
        losses = jax.tree.map(lambda x: x.mean(axis=0), losses)
    # Optax promotes dtypes, and may whatever a code base allows its own arithmetic.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
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
    taken = TrainState(state.step + 1, trained, averaged, optimizer_state)
    # With these and a finite gradient averages and moments are finite, too; to look at
    # them would keep old and new ones in memory side by side.
    good = going & sound.all() & all_finite(trained)
    kept = jax.tree.map(lambda new, old: jnp.where(good, new, old), taken, state)
    return laid_out(kept), losses, Soundness(good, sound)


def _finite(value: jax.Array, gradients: Any) -> jax.Array:
    """Whether a loss is, and the norm of its gradient."""
    # A norm that overflows makes clipped gradients zero: nothing is learned any more.
    return jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradients))


@jax.jit
def all_finite(tree: Any) -> jax.Array:
    """Whether all numbers of a tree are."""
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()
