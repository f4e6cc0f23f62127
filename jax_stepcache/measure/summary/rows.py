"""A run's statistics as plain Python values."""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.loop.result import Stats, strip
from jax_stepcache.loop.unused import why_unused
from jax_stepcache.policy.asked import Asked

BRANCHES = ("conditional", "unconditional")
"""The guidance branches, in the order of `Stats.branches`."""


class Quantiles(NamedTuple):
    """Quantiles of a signal, linearly interpolated."""

    min: float
    p25: float
    p50: float
    p75: float
    p95: float
    max: float


class Curve(NamedTuple):
    """What happened at each step; each field is as long as there are steps.

    Attributes:
        computed: whether the network ran.
        signal: what was compared; None where nothing was.
        threshold: with what; likewise.
    """

    computed: tuple[bool, ...]
    signal: tuple[float | None, ...]
    threshold: tuple[float | None, ...]


class Row(NamedTuple):
    """One run, or one guidance branch of it.

    Attributes:
        run: index of the run.
        name: its name.
        branch: ``conditional`` or ``unconditional`` where the guidance branches decided
            apart, else None.
        steps: how many steps there were.
        calls: how often the network, or the span inside it, ran in this run: at the
            steps that any branch computed.
        computed: steps that were computed.
        cached: steps that were not.
        share: ``cached`` over ``steps``, in [0, 1].
        longest: most cached steps in a row.
        signal: quantiles over the steps where it was compared, of its finite values;
            None if there are none.
        thresholds: the different thresholds it was compared with, the lowest first: one
            as a rule, none where nothing was compared.
        nonfinite: whether any velocity of the run held a NaN or an infinity.
        strip: the steps as text, see `strip`.
        unused: why no step was cached though a cache was asked for; else None.
        curve: the steps one by one.
    """

    run: int
    name: str
    branch: str | None
    steps: int
    calls: int
    computed: int
    cached: int
    share: float
    longest: int
    signal: Quantiles | None
    thresholds: tuple[float, ...]
    nonfinite: bool
    strip: str
    curve: Curve
    unused: str | None = None

    @property
    def label(self) -> str:
        """The name, with the branch."""
        return self.name if self.branch is None else f"{self.name}, {self.branch}"


def rows_of(run: int, name: str, stats: Stats) -> list[Row]:
    """The rows of one run.

    Args:
        run: its index.
        name: its name.
        stats: its statistics.

    Returns:
        One row, or one for each guidance branch that decided apart.

    Raises:
        ValueError: if the statistics have no values yet, or are of a batch of runs.
    """
    host = _on_host(name, stats)
    if host.branches is None:
        curves = {None: _curve(host.computed, host.signal, host.threshold)}
    else:
        each = host.branches
        columns = (
            np.moveaxis(np.asarray(x), 1, 0)
            for x in (each.computed, each.signal, each.threshold)
        )
        curves = dict(zip(BRANCHES, map(_curve, *columns), strict=True))
    calls, nonfinite = int(host.model_calls), bool(host.nonfinite)
    return [
        _row(run, name, branch, calls, nonfinite, curve, stats.asked)
        for branch, curve in curves.items()
    ]


def _on_host(name: str, stats: Stats) -> Stats:
    leaves = jax.tree.leaves(stats)
    if any(isinstance(x, Tracer | jax.ShapeDtypeStruct) for x in leaves):
        raise ValueError(
            f"{name} has no values yet, for it is inside a transformation: return the "
            "result from jax.jit or jax.vmap, and summarise what comes back"
        )
    shape = np.shape(stats.computed)
    if len(shape) > 1:
        first = ", ".join("0" for _ in shape[:-1])
        raise ValueError(
            f"{name} is a batch of {' x '.join(map(str, shape[:-1]))} runs that each "
            "decided for itself: take one, as in "
            f"summary(jax.tree.map(lambda x: x[{first}], result))"
        )
    if not shape:
        raise ValueError(f"{name} holds no steps: its computed is {stats.computed!r}")
    return jax.device_get(stats)


def _curve(computed: Any, signal: Any, threshold: Any) -> Curve:
    steps = np.shape(computed)
    return Curve(
        tuple(map(bool, computed)),
        _known(np.broadcast_to(signal, steps)),
        _known(np.broadcast_to(threshold, steps)),
    )


def _known(values: np.ndarray) -> tuple[float | None, ...]:
    # None rather than NaN: rows can then be compared, and written as JSON.
    return tuple(None if np.isnan(x) else float(x) for x in values)


def _row(
    run: int,
    name: str,
    branch: str | None,
    calls: int,
    nonfinite: bool,
    curve: Curve,
    asked: Asked | None,
) -> Row:
    steps, computed = len(curve.computed), sum(curve.computed)
    # Of two branches only one is a cache's to skip.
    of_two = False
    if asked is not None and asked.apart:
        of_two = branch == BRANCHES[1 if asked.interval else 0]
    signal = [x for x in curve.signal if x is not None and np.isfinite(x)]
    runs = [len(list(same)) for ran, same in groupby(curve.computed) if not ran]
    quantiles = None
    if signal:
        levels = np.quantile(signal, [0, 0.25, 0.5, 0.75, 0.95, 1])
        quantiles = Quantiles(*levels.tolist())
    return Row(
        run=run,
        name=name,
        branch=branch,
        steps=steps,
        calls=calls,
        computed=computed,
        cached=steps - computed,
        share=(steps - computed) / steps if steps else 0.0,
        longest=max(runs, default=0),
        signal=quantiles,
        thresholds=tuple(sorted({x for x in curve.threshold if x is not None})),
        nonfinite=nonfinite,
        strip=strip(curve.computed),
        curve=curve,
        unused=None if of_two else why_unused(*curve, asked),
    )
