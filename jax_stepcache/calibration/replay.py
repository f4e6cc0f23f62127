"""Replaying policies over recorded trajectories, without the network."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.calibration.trajectory import Trajectory
from jax_stepcache.loop.denoise import denoise
from jax_stepcache.loop.generation import Program
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.policy.forecasts import Hold
from jax_stepcache.policy.gates.base import chosen
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.signals.first_blocks import BRANCHES
from jax_stepcache.policy.view import Inside, View
from jax_stepcache.solvers.schedule import per_output


@functools.partial(jax.jit, static_argnames=("program",))
def replay_whole(
    program: Program, policy: Policy, trajectory: Trajectory, response: Any
) -> SampleResult:
    """Samples with a policy of the whole forward, and recorded velocities.

    Where the replayed sample has left the recorded one, the network would have said
    something else: ``velocity + response * (sample - recorded) / sigma``. A response of
    1 is a network whose clean sample does not depend on what it is shown, 0 one whose
    velocity does not.

    Args:
        program: of the recorded sampler.
        policy: the policy.
        trajectory: an uncached one.
        response: float32[num_steps] for each output, in the sample's structure.

    Returns:
        The sample and statistics; decisions are those of the real sampler as long as
        the trajectories stay close.
    """
    schedule = program.schedule
    noise = jax.tree.map(lambda x: x[0], trajectory.samples)
    leaves, structure = jax.tree.flatten(noise)
    sigmas = [
        jnp.asarray(s.sigmas, jnp.float32)[:-1] for s in per_output(schedule, noise)
    ]
    answers = jax.tree.leaves(response)
    if len(answers) != len(leaves):
        raise ValueError("the response must have the sample's structure")

    def network(sample: Any, step: jax.Array) -> Any:
        said = [
            velocity[step] + answer[step] * (x - seen[step]) / sigma[step]
            for velocity, answer, x, seen, sigma in zip(
                jax.tree.leaves(trajectory.velocities),
                answers,
                jax.tree.leaves(sample),
                jax.tree.leaves(trajectory.samples),
                sigmas,
                strict=True,
            )
        ]
        return jax.tree.unflatten(structure, said)

    return denoise(
        network, noise, schedule=schedule, solver=program.solver, policy=policy
    )


@functools.partial(jax.jit, static_argnames=("program",))
def replay_inside(
    program: Program, policies: Policy, trajectory: Trajectory
) -> jax.Array:
    """Decides as policies inside the network would, over what was seen there.

    Args:
        program: of the recorded sampler.
        policies: a policy whose leaves have a leading axis of settings.
        trajectory: an uncached one, watched with the policy's span and signal.

    Returns:
        bool[settings, num_steps], where the span runs for any guidance branch.
    """
    schedule = program.schedule
    leaves, structure = jax.tree.flatten(trajectory.samples)
    num_steps = len(trajectory.computed)
    sigmas = [
        jnp.asarray(s.sigmas, jnp.float32)[:-1]
        for s in per_output(schedule, trajectory.samples)
    ]
    branches = trajectory.seen.steps.shape[1]
    # No forecast is asked for, so what it would remember may be as small as can be.
    nothing = jnp.zeros((num_steps, 1, 1, 1))
    policies = _without_forecast(policies)

    def decide(policy: Policy, sights: Any) -> jax.Array:
        """One branch's decisions, bool[num_steps]."""
        inside = Inside(
            nothing if sights.hidden is None else sights.hidden,
            sights.first,
            sights.modulated,
            sigmas[0],
            jnp.full(num_steps, branches, jnp.int32),
            sights.times,
            sights.shown,
        )
        views = View(
            jnp.arange(num_steps, dtype=jnp.int32),
            jax.tree.unflatten(structure, sigmas),
            jax.tree.unflatten(structure, leaves),
            inside,
        )

        def step(state: Any, view: View) -> tuple[Any, jax.Array]:
            decision = policy.decide(state, view)
            ran = jnp.asarray(decision.run)
            recorded = policy.record(decision.state, view, view.entering)
            return chosen(ran, recorded, decision.state), ran

        start = policy.init(jax.tree.map(lambda x: x[0], views), num_steps)
        return jax.lax.scan(step, start, views)[1]

    each_branch = jax.vmap(decide, in_axes=(None, 1), axis_name=BRANCHES)
    return jax.lax.map(
        lambda policy: each_branch(policy, trajectory.seen).any(axis=0), policies
    )


def _without_forecast(policy: Any) -> Any:
    """A policy that decides alike and remembers nothing to speak of."""
    if hasattr(policy, "forecast"):
        return dataclasses.replace(policy, forecast=Hold())
    if hasattr(policy, "policy"):
        return dataclasses.replace(policy, policy=_without_forecast(policy.policy))
    return policy
