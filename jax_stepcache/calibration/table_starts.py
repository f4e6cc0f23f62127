"""Tables that are known before a fit, from the best of which it starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from jax_stepcache.calibration.schedule_search import even_spread
from jax_stepcache.loop.as_table import as_table
from jax_stepcache.loop.generation import Generation
from jax_stepcache.network.tuned import DamagedSettings, TunedFile
from jax_stepcache.paths import as_path
from jax_stepcache.policy.named import mask_of_steps, static_schedule
from jax_stepcache.solvers import SolverTable, get_solver
from jax_stepcache.solvers.longer_table import one_call_more
from jax_stepcache.solvers.schedule import per_output
from jax_stepcache.solvers.table_family import in_family

_SOLVERS = {"unipc": "unipc", "dpm++": "dpm++_2m"}
"""Whose plain steps are starts besides those of the sampler's own solver."""

_IN_FILE = {"tuned": "schedule", "bespoke": "table"}


class Start(NamedTuple):
    """A table to start from.

    Attributes:
        name: what it is called in a calibration's curve.
        tables: of each output.
    """

    name: str
    tables: tuple[SolverTable, ...]


def plain_start(plain: Generation, like: Any) -> Start:
    """As many plain steps.

    Args:
        plain: the sampler of so many.
        like: a sample.

    Returns:
        Their table.
    """
    return _start("plain", as_table(plain.program.solver, plain.schedule), like)


def starts_of(
    uncached: Generation, plain: Generation, like: Any, options: Any, known: Any
) -> Iterator[Start]:
    """The others: of other solvers, lines at even steps, and what was found before.

    Args:
        uncached: the sampler that the table is to stand for.
        plain: that of as many steps as there are calls.
        like: a sample.
        options: an object with the options of `sample`.
        known: a file of settings, or None.

    Returns:
        The starts.

    Raises:
        ValueError: if a file of settings, the model's own or this, is damaged.
    """
    program, calls = uncached.program, plain.program.num_steps
    model, outputs = program.model, tuple(program.model.outputs or ())
    for name, solver in _SOLVERS.items():
        if get_solver(solver) != plain.program.solver:
            yield _start(name, as_table(solver, plain.schedule), like)
    if calls < program.num_steps:
        policies = {
            name: even_spread(calls, program.num_steps, outputs, name).policy(
                program.num_steps
            )
            for name in ("linear", "linear_x0")
        }
        tuned = _found("tuned", calls, model, known)
        if tuned is not None and tuned.num_steps == program.num_steps:
            mask = mask_of_steps(tuned.steps, tuned.num_steps)
            policies["tuned"] = static_schedule(mask, tuned.forecast)
        for name, policy in policies.items():
            yield _start(
                name, as_table(program.solver, uncached.schedule, policy), like
            )
    own = _found("bespoke", calls, model, known)
    if own is not None:
        yield _start("bespoke", in_family(own.tables, options, model.defaults), like)
    fewer = _found("bespoke", calls - 1, model, known)
    if fewer is not None:
        found = _start("", in_family(fewer.tables, options, model.defaults), like)
        yield Start("one call more", one_call_more(found.tables))


def _start(name: str, tables: Any, like: Any) -> Start:
    return Start(name, tuple(per_output(tables, like)))


def _found(name: str, calls: int, model: Any, known: Any) -> Any:
    """What was found before of so many calls, in the file or by the model, or None."""
    file = None if known is None else TunedFile(as_path(known, "known"))
    for find in (getattr(file, _IN_FILE[name], None), getattr(model, name, None)):
        try:
            if find is not None:
                return find(calls)
        except DamagedSettings:
            raise
        except ValueError:
            continue
    return None
