"""A sampler as a table: its own algebra, run on unit vectors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_leaves
from jax_stepcache.errors import naming_arguments
from jax_stepcache.loop.denoise import walk
from jax_stepcache.policy.forecasts import is_forecast
from jax_stepcache.policy.gates.base import needs_signal
from jax_stepcache.policy.named import Uncached
from jax_stepcache.policy.policy import Policy
from jax_stepcache.solvers import Solver, SolverTable, get_solver
from jax_stepcache.solvers.base import calls_of
from jax_stepcache.solvers.schedule import is_schedule, num_steps_of, per_output
from jax_stepcache.solvers.stochastic import draws_noise
from jax_stepcache.solvers.table import checked_table, one_for_all

# What is linear differs by rounding, a thousand times less; nothing else is so near.
_LINEAR = 1e-3


@naming_arguments({"cache": "policy"})
def as_table(solver: str | Solver, schedule: Any, policy: Policy | None = None) -> Any:
    """Turns a solver, a schedule and a cache at known steps into a table.

    The table makes the same network calls, and the same sample but for rounding.

    Args:
        solver: see `sample`.
        schedule: a schedule, or one for each output; or tables, for which the solver is
            `Bespoke`.
        policy: a policy around the whole network whose steps no signal decides, such as
            `static_schedule` makes; None runs every step.

    Returns:
        A `SolverTable` of as many calls as there are steps that run; where the schedule
        is a mapping with one for each output, such a mapping. Where the forecast alone
        is one, the table's weights are.

    Raises:
        ValueError: if the steps depend on the sample, the cache is inside the network,
            the solver draws noise, or what it or the forecasts make of velocities is
            not linear.
        TypeError: for what is no solver, schedule or policy.
    """
    solver = get_solver(solver)
    schedule = calls_of(solver, schedule)
    num_steps = num_steps_of(schedule)
    if draws_noise(solver):
        raise ValueError(
            f"{solver!r:.80} draws noise at every step, so no table does the same"
        )
    policy = Uncached() if policy is None else policy
    _check_policy(policy)
    # One unit for the noise, and one for the velocity of every step; and once more with
    # arbitrary numbers, to see whether that is all there is to it.
    size = num_steps + 1
    units = np.eye(size, dtype=np.float32)
    others = np.random.default_rng(0).standard_normal((size, size), np.float32)
    outputs = _outputs(schedule, policy)

    def run(bank: jax.Array) -> tuple[Any, Any, jax.Array]:
        def network(sample: Any, step: jax.Array) -> Any:
            return jax.tree.map(lambda _: bank[step + 1][None], sample)

        noise = jax.tree.map(lambda _: bank[:1], outputs)
        result, steps = walk(
            network, noise, schedule=schedule, solver=solver, policy=policy
        )
        return steps.sample, result.sample, result.stats.computed

    before, ends, ran = jax.device_get(jax.vmap(run)(jnp.stack([units, others])))
    if (ran[0] != ran[1]).any():
        raise ValueError(_another_cache(policy, "decides by the sample"))
    calls = np.flatnonzero(ran[0])

    def table(schedule: Any, before: Any, end: Any) -> SolverTable:
        # [2, calls, size]: what each call but the first was made on, and the end.
        rows = np.concatenate([before[:, calls[1:], 0], end], axis=1)
        weights = rows[0][:, [0, *(calls + 1)]]
        wanted = weights @ others[[0, *(calls + 1)]]
        off = np.abs(wanted - rows[1]).max()
        if not off <= _LINEAR * (1 + np.abs(wanted).max()):
            raise ValueError(
                f"{solver!r:.80} or the policy's forecast is not linear in noise and "
                "velocities, so no table does the same"
            )
        sigmas = np.asarray(schedule.sigmas)
        return checked_table(
            SolverTable(
                np.append(sigmas[calls], sigmas[-1]).astype(np.float32),
                np.asarray(schedule.timesteps, np.float32)[calls],
                weights[:, 0],
                # Beyond the diagonal nothing was there yet.
                np.tril(weights[:, 1:]),
            )
        )

    structure = jax.tree.structure(outputs)
    schedules = per_output(schedule, outputs)
    each = zip(schedules, jax.tree.leaves(before), jax.tree.leaves(ends), strict=True)
    tables = [table(*one) for one in each]
    if is_schedule(schedule):
        return one_for_all(tables, structure)
    return jax.tree.unflatten(structure, tables)


def _outputs(schedule: Any, policy: Policy) -> Any:
    """A tree with a leaf for each output, as far as these tell them apart."""
    if not is_schedule(schedule):
        return jax.tree.map(lambda _: 0.0, schedule, is_leaf=is_schedule)
    forecast = getattr(policy, "forecast", None)
    if forecast is None or is_forecast(forecast):
        return 0.0
    return jax.tree.map(lambda _: 0.0, forecast, is_leaf=is_forecast)


def _check_policy(policy: Any) -> None:
    if not callable(getattr(policy, "decide", None)):
        raise TypeError(
            f"policy is {policy!r:.80}; give a policy, such as static_schedule makes"
        )
    check_leaves(policy, "policy")
    if getattr(policy, "span", None) is not None:
        raise ValueError(_another_cache(policy, "is inside the network"))
    if needs_signal(policy):
        raise ValueError(_another_cache(policy, "compares a signal"))


def _another_cache(policy: Any, why: str) -> str:
    return (
        f"{type(policy).__name__} {why}; a table has its steps beforehand, as those of "
        "static_schedule are"
    )
