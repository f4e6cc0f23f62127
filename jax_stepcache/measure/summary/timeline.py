"""Where and when requests ran that shared network calls: ``timeline(results)``."""

from __future__ import annotations

import io
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from jax_stepcache.loop.result import Batching, SampleResult, Stats, shown

_NAMES = string.digits + string.ascii_letters
_IDLE, _REUSED = "·", "-"
# Okabe and Ito's, without those that are faint on white, or black.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_WIDTH, _HEIGHT, _MARK = 0.6, 0.66, 0.24
_MISSING = "plots need matplotlib: pip install 'jax-stepcache[plot]'"


class Step(NamedTuple):
    """A solver step of a request.

    Attributes:
        call: how many network calls had been made when it was decided.
        computed: whether the network, or the span inside it, ran.
    """

    call: int
    computed: bool


class Segment(NamedTuple):
    """A request in its slot.

    Attributes:
        request: its index among the results.
        slot: where it was.
        first: the call before which, or in which, it took its first step.
        steps: its steps, one by one.
    """

    request: int
    slot: int
    first: int
    steps: tuple[Step, ...]

    @property
    def last(self) -> int:
        """The call of its last step."""
        return self.steps[-1].call


@dataclass(frozen=True, repr=False)
class Timeline:
    """Slots over network calls: a strip for each when printed, or a picture.

    Attributes:
        rows: one for each request, in the order of the results. They hold plain Python
            values.
        inside: whether each call took a slot one step, computed or not, as with a cache
            inside the network. Else steps that were not computed took no call.
    """

    rows: tuple[Segment, ...]
    inside: bool

    @property
    def calls(self) -> range:
        """The network calls that any of the requests was in."""
        served = [step.call for row in self.rows for step in self._served(row)]
        return range(min(served), max(served) + 1) if served else range(0)

    @property
    def slots(self) -> int:
        """Number of slots, as far as they were used."""
        return max(row.slot for row in self.rows) + 1

    def __repr__(self) -> str:
        """A line for each slot, a column for each network call."""
        calls = self.calls
        lines = [[_IDLE] * len(calls) for _ in range(self.slots)]
        for row in self.rows:
            for step in self._served(row):
                mark = _NAMES[row.request % len(_NAMES)] if step.computed else _REUSED
                lines[row.slot][step.call - calls.start] = mark
        cells = len(calls) * self.slots
        served = cells - sum(line.count(_IDLE) for line in lines)
        reused = f", {_REUSED} reused inside the network" if self.inside else ""
        text = "\n".join(
            [
                f"slot  {len(calls)} network calls from {calls.start} on, "
                f"{served} of {cells} places served",
                *(f"{slot:>4}  {''.join(line)}" for slot, line in enumerate(lines)),
                f"      0 1 ... a ... Z 0 ...: computed for that request{reused}, "
                f"{_IDLE} idle",
            ]
        )
        return shown(text)

    def plot(self, ax: Any = None) -> Any:
        """Draws slots over network calls.

        A box is a step that a call computed, in the colour of its request; the first
        has the request's number. Reused steps are small marks before the call ahead of
        which the slot walked through them, or hollow boxes with a cache inside the
        network, where they took a call.

        Args:
            ax: matplotlib axes to draw into; None makes a figure.

        Returns:
            The matplotlib figure.

        Raises:
            ImportError: without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ImportError(_MISSING) from error
        if ax is None:
            size = (min(max(0.22 * len(self.calls) + 1, 6), 14), 0.9 + 0.4 * self.slots)
            figure: Any = Figure(figsize=size, layout="constrained")
            # A notebook that has not imported pyplot shows figures as text.
            figure._repr_png_ = partial(_png, figure)
            ax = figure.subplots()
        _draw(ax, self)
        return ax.get_figure()

    def _served(self, row: Segment) -> list[Step]:
        """The steps that took a call."""
        return [step for step in row.steps if self.inside or step.computed]


def timeline(results: Any) -> Timeline:
    """Shows which request was in which slot at each network call.

    Args:
        results: what `sample_many` returned, or some of it; or the one result of
            ``sample(..., decide="sample")``, whose samples are the requests then.

    Returns:
        The timeline; `print` it, or call its ``plot``.

    Raises:
        TypeError: for what is no result.
        ValueError: for no result, for one that is traced, was not made side by side
            with others, or is of another run than the rest.
    """
    rows: list[Segment] = []
    inside = False
    for request, (ran, batching) in enumerate(_apart(results)):
        calls = np.asarray(batching.call).tolist()
        steps = tuple(map(Step, calls, np.asarray(ran).tolist()))
        rows.append(Segment(request, int(batching.slot), calls[0], steps))
        inside = bool(batching.inside)
    _check_one_run(rows)
    return Timeline(tuple(rows), inside)


def _apart(results: Any) -> list[tuple[Any, Batching]]:
    """Each request's computed steps and where it was, on the host."""
    if isinstance(results, SampleResult | Stats):
        results = [results]
    if not isinstance(results, Iterable):
        raise TypeError(_no_result(results))
    found = [_checked(index, result) for index, result in enumerate(results)]
    if not found:
        raise ValueError("there is nothing to show: the list of results is empty")
    if all(np.ndim(ran) == 1 for ran, _ in found):
        return found
    if len(found) > 1 or np.ndim(found[0][0]) != 2:
        raise ValueError(
            "a batch has calls of its own: give timeline(result) one result of "
            'sample(..., decide="sample") at a time'
        )
    ((ran, batching),) = found
    return [
        (one, jax.tree.map(lambda x, i=i: x[i], batching)) for i, one in enumerate(ran)
    ]


def _checked(index: int, result: Any) -> tuple[Any, Batching]:
    stats = result if isinstance(result, Stats) else getattr(result, "stats", None)
    if not isinstance(stats, Stats):
        raise TypeError(_no_result(result))
    if stats.batching is None:
        raise ValueError(
            f"result {index} has no batching: its steps were not decided side by side "
            "with others. Give what sample_many(...) returned, or the result of "
            'sample(..., decide="sample")'
        )
    shown = stats.computed, stats.batching
    if any(
        isinstance(x, Tracer | jax.ShapeDtypeStruct) for x in jax.tree.leaves(shown)
    ):
        raise ValueError(
            f"result {index} has no values yet, for it is inside a transformation: "
            "return it from jax.jit, and show what comes back"
        )
    return jax.device_get(shown)


def _check_one_run(rows: Sequence[Segment]) -> None:
    order = sorted(rows, key=lambda row: (row.slot, row.first, row.last))
    for before, after in pairwise(order):
        if before.slot == after.slot and after.first < before.last:
            raise ValueError(
                f"results {before.request} and {after.request} were in slot "
                f"{after.slot} at once, so they are of different runs; give those of "
                "one sample_many at a time"
            )


def _no_result(given: Any) -> str:
    return (
        "timeline takes the list that sample_many returns, or the result of "
        f'sample(..., decide="sample"); got a {type(given).__name__}'
    )


def _draw(axis: Any, shown: Timeline) -> None:
    from matplotlib.ticker import MaxNLocator

    for row in shown.rows:
        _boxes(axis, row, shown)
    if not shown.inside:
        _marks(axis, shown.rows)
    # The last marks are ahead of a call that need not have been made.
    ends = [row.last - 0.5 * (not row.steps[-1].computed) for row in shown.rows]
    starts = [row.first for row in shown.rows]
    axis.set_xlim(min(starts) - 0.75, max(*ends, shown.calls.stop - 1) + 0.5)
    axis.set_ylim(shown.slots - 0.4, -0.6)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_yticks(range(shown.slots))
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.set_xlabel("network call")
    axis.set_ylabel("slot")
    axis.legend(
        handles=_keys(shown.inside),
        fontsize=8,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        borderaxespad=0.2,
        ncols=3,
    )


def _boxes(axis: Any, row: Segment, shown: Timeline) -> None:
    from matplotlib.patches import Rectangle

    colour = _COLOURS[row.request % len(_COLOURS)]
    served = shown._served(row)
    for step in served:
        corner = (step.call - _WIDTH / 2, row.slot - _HEIGHT / 2)
        axis.add_patch(Rectangle(corner, _WIDTH, _HEIGHT, **_box(colour, step)))
    if served:
        first = served[0]
        axis.text(
            first.call,
            row.slot,
            str(row.request),
            color=_ink(colour) if first.computed else colour,
            fontsize=7,
            ha="center",
            va="center",
            clip_on=True,
        )


def _marks(axis: Any, rows: Sequence[Segment]) -> None:
    """Reused steps between two boxes, the first on top, whoever's they are."""
    from matplotlib.patches import Rectangle

    between: dict[tuple[int, int], list[int]] = {}
    for row in sorted(rows, key=lambda row: (row.first, row.last)):
        for step in row.steps:
            if not step.computed:
                between.setdefault((row.slot, step.call), []).append(row.request)
    for (slot, call), requests in between.items():
        each = min(0.19, (_HEIGHT + 0.2) / len(requests))
        top = slot - each * len(requests) / 2
        for i, request in enumerate(requests):
            corner = (call - 0.5 - _MARK / 2, top + each * (i + 0.15))
            colour = _COLOURS[request % len(_COLOURS)]
            size = (_MARK, 0.7 * each)
            axis.add_patch(Rectangle(corner, *size, facecolor=colour, linewidth=0))


def _box(colour: str, step: Step) -> dict[str, Any]:
    return {
        "facecolor": colour if step.computed else "none",
        "edgecolor": colour,
        "linewidth": 1,
    }


def _ink(colour: str) -> str:
    """Black or white, whichever is read on a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 140 else "black"


def _keys(inside: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    computed = Patch(color="gray", label="computed, in its request's colour")
    if inside:
        hollow = Patch(
            facecolor="none", edgecolor="gray", label="reused inside the network"
        )
        return [computed, hollow]
    mark = Line2D([], [], color="gray", linewidth=2.5, label="reused, before the call")
    mark.set_dashes((1.5, 0.7))
    return [computed, mark]


def _png(figure: Any) -> bytes:
    with io.BytesIO() as file:
        figure.savefig(file, format="png")
        return file.getvalue()
