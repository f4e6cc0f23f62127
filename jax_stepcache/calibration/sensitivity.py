"""How a network's answer moves with sample and timestep, for SenCache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.trajectory import Trajectory
from jax_stepcache.check import batch_size
from jax_stepcache.loop.denoise import Gated
from jax_stepcache.loop.forward import Whole
from jax_stepcache.loop.generation import Generation, begin, run_together
from jax_stepcache.loop.program import forward_of
from jax_stepcache.loop.transfers import sent
from jax_stepcache.policy.signals.cosine import compared_output
from jax_stepcache.policy.signals.sensitivity import root_mean_square
from jax_stepcache.solvers.schedule import per_output


def sensitivities(
    generations: Sequence[Generation], trajectories: Sequence[Trajectory]
) -> dict[str, np.ndarray]:
    """Measures a table of sensitivities, as SenCache's authors do.

    At each step the network is asked twice more: at the next sample with this timestep,
    and at this sample with the next one.

    Args:
        generations: the uncached ones of the sampler, guidance included: each with its
            own condition.
        trajectories: of each generation.

    Returns:
        ``timesteps``, ``J_x_norm`` and ``J_t_norm``, float32[num_steps], means over the
        trajectories.

    Raises:
        ValueError: for a single step, from which there is no next one.
    """
    num_steps = generations[0].program.num_steps
    if num_steps < 2:
        raise ValueError(
            f"num_inference_steps is {num_steps}; sensitivities are differences from "
            "one step to the next, so it must be at least 2"
        )
    each = [
        jax.device_get(run_together(lambda g, t=t: _measured(g, t), sent(generation)))
        for generation, t in zip(generations, trajectories, strict=True)
    ]
    by_sample, by_time = (np.mean(x, axis=0) for x in zip(*each, strict=True))
    levels = np.asarray(jax.device_get(_levels(generations[0], trajectories[0])))
    return {
        "timesteps": (1000 * levels).astype(np.float32),
        "J_x_norm": by_sample,
        "J_t_norm": by_time,
    }


def _levels(generation: Generation, trajectory: Trajectory) -> jax.Array:
    """The noise levels of the output that is looked at."""
    structure = jax.tree.structure(trajectory.samples)
    schedules = per_output(generation.schedule, trajectory.samples)
    sigmas = [jnp.asarray(one.sigmas, jnp.float32)[:-1] for one in schedules]
    tree = jax.tree.unflatten(structure, sigmas)
    output = generation.program.model.signal_output
    return jax.tree.leaves(compared_output(tree, output))[0]


@jax.jit
def _measured(
    generation: Generation, trajectory: Trajectory
) -> tuple[jax.Array, jax.Array]:
    condition, _ = begin(generation)
    batch = batch_size(trajectory.end, "noise")
    network = forward_of(generation, condition, batch)
    if isinstance(network, Whole):
        network = network.network
    if isinstance(network, Gated):
        raise ValueError("sensitivities are those of a sampler without a cache inside")
    output = generation.program.model.signal_output
    count = trajectory.computed.shape[0]
    levels = _levels(generation, trajectory)

    def apart(a: Any, b: Any) -> jax.Array:
        return root_mean_square(
            jax.tree.map(
                jnp.subtract, compared_output(a, output), compared_output(b, output)
            )
        )

    def at(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The last step has no next one; what is seen before it is nearly the same.
        i = jnp.minimum(i, count - 2)
        here, there, said = (
            jax.tree.map(lambda x, j=j: x[j], tree)
            for tree, j in (
                (trajectory.samples, i),
                (trajectory.samples, i + 1),
                (trajectory.velocities, i),
            )
        )
        moved = jnp.maximum(apart(there, here), 1e-8)
        later = 1000 * jnp.abs(levels[i + 1] - levels[i])
        by_sample = apart(network(there, i), said) / moved
        by_time = apart(network(here, i + 1), said) / later
        return by_sample, by_time

    return jax.lax.map(at, jnp.arange(count, dtype=jnp.int32))
