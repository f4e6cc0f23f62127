"""The table of a number of network calls whose samples come nearest to a reference.

Or the noise levels alone, of which a solver makes the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.answers import check_changes, check_finite
from jax_stepcache.calibration.levels import Levels, levels_around, schedule_of
from jax_stepcache.calibration.provenance import provenance_of
from jax_stepcache.calibration.quality import decibels, decoded, shown, spread
from jax_stepcache.calibration.result import Calibration, CurvePoint
from jax_stepcache.calibration.samples import Samples
from jax_stepcache.calibration.table_fit import fit_table
from jax_stepcache.calibration.table_loss import Chunk, Layout, held_out_loss
from jax_stepcache.calibration.table_options import TableFit
from jax_stepcache.calibration.table_shares import shares_of
from jax_stepcache.calibration.table_space import (
    Space,
    space_around,
    space_of,
    unmoved,
)
from jax_stepcache.calibration.table_starts import Start, plain_start, starts_of
from jax_stepcache.calibration.trajectory import follow
from jax_stepcache.loop.generation import Generation, begin
from jax_stepcache.network.inputs import Inputs
from jax_stepcache.options import TABLE_BRINGS, Options, resolve
from jax_stepcache.sampling import sample
from jax_stepcache.solvers.schedule import is_schedule, per_output

_HELD_OUT = 4
"""One in so many samples decides which table is kept, and is not descended on."""


class _Ground(NamedTuple):
    """What all numbers of calls are fitted on.

    Attributes:
        samples: all of them.
        parts: these in parts of one size.
        held: how many of the parts are held out, the first ones.
        ends: what each part should come near to.
        uncached: the sampler that a table is to stand for, of one part.
        layout: how the outputs' tables make a schedule.
        shares: float32[outputs, 2], the loss's; see `table_loss`.
        fit: how it is fitted.
        levels: whether noise levels alone are moved, and a solver steps by them.
    """

    samples: Samples
    parts: list[Samples]
    held: int
    ends: list[Any]
    uncached: Generation
    layout: Layout
    shares: jax.Array
    fit: TableFit
    levels: bool


def calibrate_bespoke(
    samples: Samples,
    target: Mapping[str, float],
    fit: TableFit,
    levels: bool = False,
) -> Calibration:
    """Finds a table, or a schedule for the solver.

    It starts from the best table known, judged on the held-out samples: as many plain
    steps, also of UniPC and DPM-Solver++, the schedule and table that the model or a
    file has, lines at evenly spread steps.

    Args:
        samples: to calibrate on, two or more; a quarter of them is held out.
        target: ``model_calls``; or ``psnr``, then the fewest calls that reach it, and
            where none do the nearest that was found.
        fit: how.
        levels: finds noise levels alone, those by which plain steps of the solver come
            nearest; it starts from its usual ones.

    Returns:
        The calibration, with figures of the held-out samples.

    Raises:
        ValueError: for too few samples, or a model that answers NaN, or the same at
            every step.
    """
    ground = _ground(samples, fit, levels)
    if "model_calls" in target:
        return _with_calls(ground, int(target["model_calls"]), target)
    found: list[Calibration] = []
    for calls in range(2, max(ground.uncached.program.num_steps, 3)):
        own = None if fit.resume is None else f"{fit.resume}.{calls}"
        one = ground._replace(fit=replace(fit, resume=own))
        found.append(_with_calls(one, calls, target))
        if found[-1].met:
            return found[-1]
    return max(found, key=lambda one: shown(one.quality, samples.output))


def _ground(samples: Samples, fit: TableFit, levels: bool = False) -> _Ground:
    parts, held = _parts(samples, fit.batch)
    shares = shares_of(fit, parts[0].batch["noise"], samples.model)
    ends = [_reference(part, fit.reference_steps or 0) for part in parts]
    uncached = _resolved(parts[0], parts[0].shared)
    check_changes([follow(uncached)])
    layout = Layout(jax.tree.structure(ends[0]), is_schedule(uncached.schedule))
    return _Ground(samples, parts, held, ends, uncached, layout, shares, fit, levels)


def _with_calls(
    ground: _Ground, calls: int, target: Mapping[str, float]
) -> Calibration:
    """The best table of so many calls."""
    samples, layout, held = ground.samples, ground.layout, ground.held
    plain, like = _plain(ground, calls), ground.ends[0]
    starts = [plain_start(plain, like)]
    if not ground.levels:
        asked = Options(**samples.shared)
        known = ground.fit.known
        starts += starts_of(ground.uncached, plain, like, asked, known)
    chunks = [
        _chunk(part, layout.schedule(starts[0].tables), end)
        for part, end in zip(ground.parts, ground.ends, strict=True)
    ]
    best = _best(ground, starts, chunks[:held])
    spaces = _levels(ground, calls) if ground.levels else _spaces(ground, best)
    moved, taken = fit_table(
        spaces, layout, chunks[held:], chunks[:held], ground.shares, ground.fit
    )
    pairs = zip(spaces, moved, strict=True)
    tables = jax.device_get([space.around(one).table(one) for space, one in pairs])
    found = layout.schedule(tables)
    reference = decoded(samples.model, _together(ground.ends[:held]))

    def made(tables: Any) -> Any:
        each = [_sampled(part, schedule=tables) for part in ground.parts[:held]]
        return decoded(samples.model, _together(each))

    measured = {
        start.name: decibels(reference, made(layout.schedule(start.tables)))
        for start in starts
    }
    ours = made(found)
    quality = decibels(reference, ours)
    psnr = shown(quality, samples.output)
    num_steps = ground.uncached.program.num_steps
    sampler = {k: x for k, x in samples.sampler.items() if k not in TABLE_BRINGS}
    if ground.levels:
        schedules = [schedule_of(one) for one in tables]
        sampler["schedule"] = (
            schedules[0]
            if layout.shared
            else jax.tree.unflatten(layout.structure, schedules)
        )
        if "solver" in samples.sampler:
            sampler["solver"] = samples.sampler["solver"]
    return Calibration(
        cache="none" if ground.levels else "bespoke",
        cache_config={} if ground.levels else {"table": found},
        target=dict(target),
        met="model_calls" in target or psnr >= target["psnr"],
        model_calls=float(calls),
        quality=quality,
        baseline=measured["plain"],
        curve=tuple(
            CurvePoint(name, float(calls), shown(each, samples.output), sampled=True)
            for name, each in {**measured, "found": quality}.items()
        ),
        sampler=sampler,
        fit={
            "solver": ground.uncached.program.solver,
            "shift": samples.sampler.get("shift"),
            "start": best.name,
            "steps": taken,
            "samples": samples.number,
            "held_out": sum(part.number for part in ground.parts[:held]),
            "reference_steps": ground.fit.reference_steps or num_steps,
            "num_steps": num_steps,
            "spread": spread(reference, ours),
            "provenance": provenance_of(samples.params),
            "starts": measured,
        },
    )


def _best(ground: _Ground, starts: Sequence[Start], held_out: list[Chunk]) -> Start:
    """The one of least loss on held-out samples."""

    def loss(start: Start) -> float:
        spaces = tuple(map(space_of, start.tables))
        still = tuple(map(unmoved, spaces))
        return held_out_loss(spaces, still, ground.layout, held_out, ground.shares)

    losses = np.array([loss(start) for start in starts])
    return starts[int(np.argmin(np.where(np.isnan(losses), np.inf, losses)))]


def _spaces(ground: _Ground, start: Start) -> tuple[Space, ...]:
    """The space around each output's table, by what the network says on its way."""
    options = {"schedule": ground.layout.schedule(start.tables)}
    steps = follow(_resolved(ground.parts[-1], options))
    before, said = map(
        jax.tree.leaves, jax.device_get((steps.samples, steps.velocities))
    )
    schedules = per_output(ground.uncached.schedule, ground.ends[0])
    each = zip(start.tables, schedules, before, said, strict=True)
    return tuple(
        space_around(table, schedule, samples[0], velocities)
        for table, schedule, samples, velocities in each
    )


def _levels(ground: _Ground, calls: int) -> tuple[Levels, ...]:
    """Where noise levels are moved from: as many plain steps."""
    plain = _plain(ground, calls)
    schedules = per_output(plain.schedule, ground.ends[0])
    return tuple(levels_around(plain.program.solver, one) for one in schedules)


def _plain(ground: _Ground, calls: int) -> Generation:
    samples = ground.samples
    return _resolved(samples.some([0]), samples.with_steps(calls))


def _parts(samples: Samples, batch: int) -> tuple[list[Samples], int]:
    """The samples in parts of one size, and how many of these are held out."""
    batch = min(batch, max(samples.number // _HELD_OUT, 1))
    count = samples.number // batch
    held = max(round(count / _HELD_OUT), 1)
    if count - held < 1:
        raise ValueError(
            f"samples is {samples.number}; a table needs 2 or more, for some are held "
            "out, and a hundred or more not to fit what is in them by chance"
        )
    places = [range(i * batch, (i + 1) * batch) for i in range(count)]
    return [samples.some(some) for some in places], held


def _reference(part: Samples, num_steps: int) -> Any:
    result = sample(part.params, **part.with_steps(num_steps), **part.batch)
    check_finite(result, part.batch["noise"])
    return result.sample


def _sampled(part: Samples, **options: Any) -> Any:
    return sample(part.params, **_beside_a_table(part), **part.batch, **options).sample


def _resolved(part: Samples, options: Mapping[str, Any]) -> Generation:
    given = {**_beside_a_table(part), **part.batch, **options}
    return resolve(part.params, Options(**given))


def _beside_a_table(part: Samples) -> dict[str, Any]:
    return {k: x for k, x in part.shared.items() if k not in TABLE_BRINGS}


def _chunk(part: Samples, schedule: Any, end: Any) -> Chunk:
    generation = _resolved(part, {"schedule": schedule})
    condition, noise = _begun(generation)
    inputs = generation.inputs
    if inputs.observation is not None:
        # Made once. Of a user's own the branches stay apart: by one of them the sampler
        # finds out where rows are.
        inputs = Inputs(None, condition)
    return Chunk(replace(generation, inputs=inputs, noise=noise, key=None), end)


_begun = jax.jit(begin)


def _together(parts: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *each: jnp.concatenate(each), *parts)
