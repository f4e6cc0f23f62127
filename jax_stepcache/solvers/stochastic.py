"""What stochastic solvers share: noise that is drawn at every step.

A step's noise comes from a seed of the sample's own and the index of the step. So a
sample is the same alone and among others, whichever slot it is in.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.solvers.multistep import (
    Memory,
    MultistepRow,
    empty_memory,
    multistep,
)

# Away from the keys that the first noise is drawn with.
_APART = 0x57E95


class StochasticRow(NamedTuple):
    """What one step takes; with a leading axis of steps, what all take.

    Attributes:
        mean: weights of what is known.
        noise: scalar, the weight of the noise.
    """

    mean: MultistepRow
    noise: Any


class StochasticState(NamedTuple):
    """What is carried beside the sample.

    Attributes:
        seeds: uint32[batch, 2], one for each sample.
        taken: int32 scalar, steps so far.
        memory: see `Memory`.
    """

    seeds: jax.Array
    taken: jax.Array
    memory: Memory


class Stochastic:
    """A multistep solver that adds noise; what it is adds ``tables``.

    Attributes:
        order: predictions that a step looks at.
    """

    draws = True
    order: int = 1

    def init(
        self, sample: jax.Array, seeds: jax.Array | None = None
    ) -> StochasticState:
        """See `Solver.init`.

        Args:
            sample: the sample, [batch, ...].
            seeds: uint32[batch, 2], see `seeds_of`.

        Returns:
            The state before the first step.

        Raises:
            ValueError: where there are no seeds.
        """
        if seeds is None:
            raise ValueError(
                f"{self!r:.80} draws noise at every step, and was given no seeds; "
                "sample and sample_many take them from key="
            )
        memory = empty_memory(sample, self.order)
        return StochasticState(seeds, jnp.zeros((), jnp.int32), memory)

    def step(
        self,
        row: StochasticRow,
        state: StochasticState,
        sample: jax.Array,
        velocity: jax.Array,
    ) -> tuple[jax.Array, StochasticState]:
        """See `Solver.step`."""
        noise = _drawn(state.seeds, state.taken, sample)
        return self.step_with(row, state, sample, velocity, noise)

    def step_with(
        self,
        row: StochasticRow,
        state: StochasticState,
        sample: jax.Array,
        velocity: jax.Array,
        noise: jax.Array,
    ) -> tuple[jax.Array, StochasticState]:
        """`step`, with given noise.

        Args:
            row: see `Solver.step`; so are the others.
            state: likewise.
            sample: likewise.
            velocity: likewise.
            noise: of the sample's shape, float32.

        Returns:
            The sample at the next sigma, and the new state.
        """
        mean, memory = multistep(row.mean, state.memory, sample, velocity)
        following = mean + row.noise.astype(mean.dtype) * noise.astype(mean.dtype)
        after = StochasticState(state.seeds, state.taken + 1, memory)
        return following.astype(sample.dtype), after


def draws_noise(solver: Any) -> bool:
    """Whether a solver draws noise, so that ``init`` takes seeds."""
    return bool(getattr(solver, "draws", False))


def seeds_of(key: jax.Array, batch: int) -> jax.Array:
    """Seeds of the samples of a batch.

    Args:
        key: a PRNG key, or one for each sample.
        batch: how many samples there are.

    Returns:
        uint32[batch, 2]. Of one key, the first is that of a sample alone; of a key for
        each, all are.
    """
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim:
        return jax.lax.map(lambda alone: seeds_of(alone, 1)[0], key)
    apart = jax.random.fold_in(key, _APART)

    def one(row: jax.Array) -> jax.Array:
        return jax.random.key_data(jax.random.fold_in(apart, row))[:2]

    # One by one: not every kind of key folds the same under `jax.vmap`.
    return jax.lax.map(one, jnp.arange(batch, dtype=jnp.uint32))


def seeds_of_output(seeds: jax.Array, output: int) -> jax.Array:
    """Seeds of one output of many.

    Args:
        seeds: uint32[batch, 2], of the samples.
        output: the index of the output among the leaves of a sample.

    Returns:
        uint32[batch, 2].
    """
    fold = jax.vmap(lambda seed: jax.random.fold_in(_key(seed), output))
    return jax.random.key_data(fold(seeds))


def _drawn(seeds: jax.Array, step: jax.Array, like: jax.Array) -> jax.Array:
    """Standard normal numbers of a step, [batch, ...]."""

    def one(seed: jax.Array) -> jax.Array:
        key = jax.random.fold_in(_key(seed), step)
        return jax.random.normal(key, like.shape[1:], jnp.float32)

    return jax.vmap(one)(seeds)


def _key(seed: jax.Array) -> jax.Array:
    # Of this kind of key alone numbers do not depend on what is around, `vmap` or none.
    return jax.random.wrap_key_data(seed, impl="threefry2x32")
