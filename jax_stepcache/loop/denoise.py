"""The denoise loop: one `lax.while_loop` over solver steps, with a gate in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.loop.attending import WithinAttentions
from jax_stepcache.loop.forward import Whole, Within
from jax_stepcache.loop.lists import WithinLists
from jax_stepcache.loop.placeholders import NOTHING, bits
from jax_stepcache.loop.progress import Progress, TqdmProgress, no_bar, report
from jax_stepcache.loop.result import SampleResult, stats_of
from jax_stepcache.meshes.varying import scan, while_loop
from jax_stepcache.policy.policy import Policy
from jax_stepcache.policy.view import View
from jax_stepcache.solvers import Solver
from jax_stepcache.solvers.base import begin_outputs, coefficients, row_of, step_outputs
from jax_stepcache.solvers.schedule import num_steps_of, per_output, sigma_at

# Where a gate may be: around the network, or within it.
Gated = Whole | Within | WithinLists | WithinAttentions


class LoopState(NamedTuple):
    """The loop's carry.

    Attributes:
        step: int32 scalar, the index of the next step.
        sample: the sample there.
        solver: one solver state for each leaf of the sample.
        cache: the policy's state.
        computed: bool[num_steps], filled as the loop goes.
        ran: bool[num_steps, branches], likewise, where branches decide apart, with a
            further axis where blocks do; or None.
        signal: int32[num_steps] or with the axes of ``ran``, likewise, the signal's
            bits.
        threshold: the same, of the threshold.
        nonfinite: bool scalar.
        bar: int32 scalar, what a progress tells bars apart by; or None.
    """

    step: jax.Array
    sample: Any
    solver: tuple[Any, ...]
    cache: Any
    computed: jax.Array
    ran: jax.Array | None
    signal: jax.Array
    threshold: jax.Array
    nonfinite: jax.Array
    bar: jax.Array | None


class Step(NamedTuple):
    """What one iteration saw and did, for `walk`.

    Attributes:
        sample: the sample before it.
        velocity: the velocity it stepped with, computed or not.
        seen: what was kept of the policy's state after it.
    """

    sample: Any
    velocity: Any
    seen: Any


def denoise(
    network: Callable[[Any, jax.Array], Any] | Gated,
    noise: Any,
    *,
    schedule: Any,
    solver: Solver,
    policy: Policy,
    progress: Progress | TqdmProgress | None = None,
    seeds: jax.Array | None = None,
) -> SampleResult:
    """Samples by walking a schedule, asking the network where the policy says so.

    The solver steps at every iteration, whether the velocity is computed or forecast.
    The cache's state lives in the loop's carry and starts clean, so nothing leaks from
    one generation into the next.

    Args:
        network: ``(sample, step) -> velocity``; the velocity has the sample's
            structure and shapes. Called once while tracing. Or a `Within`, for a policy
            with a span inside the network.
        noise: pytree of [batch, ...] arrays, the sample at the first sigma.
        schedule: a `Schedule` or a `SolverTable`, or a tree of them that is a prefix of
            ``noise``.
        solver: the solver, `Bespoke` for tables; each output steps with its own
            coefficients.
        policy: the cache policy.
        progress: where to report each step; None compiles no host callback.
        seeds: uint32[batch, 2], for a solver that draws noise; see `seeds_of`.

    Returns:
        The sample at the last sigma, and the statistics.
    """
    start, advance = _loop(network, noise, schedule, solver, policy, progress, seeds)
    num_steps = num_steps_of(schedule)
    # A static bound: XLA sees a known trip count, and a GPU's host need not read the
    # predicate back at every iteration.
    end = while_loop(
        lambda loop: loop.step < num_steps, lambda loop: advance(loop)[0], start
    )
    return result_of(end)


def denoise_some(
    network: Callable[[Any, jax.Array], Any] | Gated,
    noise: Any,
    *,
    schedule: Any,
    solver: Solver,
    policy: Policy,
    progress: Progress | TqdmProgress | None = None,
    seeds: jax.Array | None = None,
    steps: tuple[int, int],
    before: LoopState | None,
) -> LoopState:
    """Takes some of the steps of `denoise`, for networks that change on the way.

    Args:
        network: see `denoise`; so are the others.
        noise: likewise; of later steps only its shapes count.
        schedule: likewise, all of it.
        solver: likewise.
        policy: likewise.
        progress: likewise.
        seeds: likewise.
        steps: the first of them, and the one to stop before; static.
        before: what the steps before have left; None at the first step.

    Returns:
        What the next ones begin with; see `result_of`.
    """
    start, advance = _loop(network, noise, schedule, solver, policy, progress, seeds)
    first, stop = steps
    if before is not None:
        # Said anew: a loop from a number that is not known has no known trip count.
        start = before._replace(step=jnp.asarray(first, jnp.int32))
    return while_loop(
        lambda loop: loop.step < stop, lambda loop: advance(loop)[0], start
    )


def walk(
    network: Callable[[Any, jax.Array], Any] | Gated,
    noise: Any,
    *,
    schedule: Any,
    solver: Solver,
    policy: Policy,
    progress: Progress | TqdmProgress | None = None,
    seeds: jax.Array | None = None,
    keep: Callable[[Any], Any] = lambda cache: None,
    remat: bool = False,
) -> tuple[SampleResult, Step]:
    """Samples as `denoise` does, and keeps what every step saw.

    Args:
        network: see `denoise`; so are the others.
        noise: likewise.
        schedule: likewise.
        solver: likewise.
        policy: likewise.
        progress: likewise.
        seeds: likewise.
        keep: picks what is to be kept of the policy's state.
        remat: whether a derivative takes each step again rather than keep what the
            network computed in it.

    Returns:
        The result, and all steps, their arrays with a leading axis of num_steps.
    """
    start, advance = _loop(network, noise, schedule, solver, policy, progress, seeds)

    def step(loop: LoopState, _: None) -> tuple[LoopState, Step]:
        after, velocity = advance(loop)
        return after, Step(loop.sample, velocity, keep(after.cache))

    # In a scan nothing could be shared between the two.
    taken = jax.checkpoint(step, prevent_cse=False) if remat else step
    end, steps = scan(taken, start, None, length=num_steps_of(schedule))
    return result_of(end), steps


def _loop(
    network: Any,
    noise: Any,
    schedule: Any,
    solver: Solver,
    policy: Policy,
    progress: Progress | TqdmProgress | None,
    seeds: jax.Array | None,
) -> tuple[LoopState, Callable[[LoopState], tuple[LoopState, Any]]]:
    """The loop's first state, and the function that takes a step."""
    num_steps = num_steps_of(schedule)
    leaves, structure = jax.tree.flatten(noise)
    schedules = per_output(schedule, noise)
    tables = [coefficients(solver, s) for s in schedules]
    forward = network if isinstance(network, Gated) else Whole(network)

    def view_at(step: jax.Array, sample: Any) -> View:
        sigmas = [sigma_at(s, step) for s in schedules]
        return View(step, jax.tree.unflatten(structure, sigmas), sample)

    def advance(loop: LoopState) -> tuple[LoopState, Any]:
        view = view_at(loop.step, loop.sample)
        velocity, decision = forward(policy, loop.cache, view)
        rows = [row_of(table, loop.step) for table in tables]
        sample, states, finite = step_outputs(
            solver, rows, loop.solver, loop.sample, velocity
        )
        bar = loop.bar
        if progress is not None:
            bar = report(progress, loop.step, num_steps, decision.run, bar)
        after = LoopState(
            step=loop.step + 1,
            sample=sample,
            solver=states,
            cache=decision.state,
            computed=loop.computed.at[loop.step].set(decision.run),
            ran=None if loop.ran is None else loop.ran.at[loop.step].set(decision.ran),
            signal=loop.signal.at[loop.step].set(bits(decision.signal)),
            threshold=loop.threshold.at[loop.step].set(bits(decision.threshold)),
            nonfinite=loop.nonfinite | ~finite,
            bar=bar,
        )
        return after, velocity

    first = jnp.zeros((), jnp.int32)
    shape = (num_steps, *forward.noted)
    ran = jnp.zeros(shape, bool) if forward.noted else None
    start = LoopState(
        step=first,
        sample=noise,
        solver=begin_outputs(solver, leaves, seeds),
        cache=forward.init(policy, view_at(first, noise), num_steps),
        computed=jnp.zeros(num_steps, bool),
        ran=ran,
        signal=jnp.full(shape, NOTHING, jnp.int32),
        threshold=jnp.full(shape, NOTHING, jnp.int32),
        nonfinite=jnp.zeros((), bool),
        bar=no_bar(progress),
    )
    return start, advance


def result_of(end: LoopState) -> SampleResult:
    """What a loop that has taken all of its steps returns."""
    stats = stats_of(end.computed, end.ran, end.signal, end.threshold, end.nonfinite)
    return SampleResult(end.sample, stats)
