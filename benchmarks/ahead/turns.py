"""How often each instruction of a program runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from .hlo import Instruction, Module

CONTROL = frozenset({"while", "conditional", "call"})
# Of a generation, where a program does not tell: that is where samples decide each for
# itself.
STEPS = 16


def running(
    module: Module, calls: float | None, rows: int = 1, experts: int = 1
) -> Iterator[tuple[str, Instruction, float, bool]]:
    """Every instruction that runs as such, and how often.

    Where samples, or slots, decide each for itself, no loop's turns are known. The one
    with most loops in it is that over network calls, and goes round ``calls`` times. In
    it, and before it, slots walk on: to their next call without being asked, for that
    is not far; so the loop that asks goes round once where they take their requests
    before, in one more loop and one a turn, and else not at all.

    Args:
        module: the program.
        calls: how often a conditional takes its first branch, over all turns of the
            loop around it (or in all, where there is none); None for every time.
        rows: slots.
        experts: networks of which each call asks one. A conditional without another in
            it asks whether it is this one's turn, then, and all have as many.

    Yields:
        Its computation; the instruction; how often it runs; and whether it does so only
        when the network is called: in a conditional's first branch, or in the loop over
        network calls.
    """
    open_loops, asks = _open_loops(module), _has_conditionals(module)
    deepest = open_loops(module.entry)
    counted = STEPS if calls is None else calls
    # A computation, how often it runs, turns of the loop around it, the share of these
    # in which a conditional in it takes its first branch, and whether it is gated.
    todo: list[tuple[str, float, float, float | None, bool]]
    todo = [(module.entry, 1.0, 1.0, None, False)]
    while todo:
        name, times, turns, share, gated = todo.pop()
        for one in module.computations[name]:
            yield name, one, times, gated
            if one.op == "while":
                condition, body = one.runs
                level = deepest - 1 - open_loops(body)
                if one.trips is not None:
                    count, taken, inside = float(one.trips), share, gated
                elif not level:  # Over network calls.
                    count, taken, inside = float(counted), share, True
                else:
                    walks = 0 if gated or deepest < 3 else (1, rows)[level - 1]
                    count, taken, inside = float(walks), float(not gated), False
                todo.append((body, times * count, count, taken, inside))
                if one.trips is None:  # Otherwise it is counted, and not asked.
                    todo.append((condition, times * (count + 1), count, taken, False))
            elif one.op == "conditional":
                first, *others = one.runs
                part, is_gate = share, gated or share is None
                if experts > 1 and not any(map(asks, one.runs)):
                    part, is_gate = 1 / experts, gated
                elif part is None:
                    part = 1.0 if calls is None else calls / turns
                todo.append((first, times * part, turns, share, is_gate))
                for other in others:
                    todo.append((other, times * (1 - part), turns, share, False))
            elif one.op == "call":
                todo += [(other, times, turns, share, gated) for other in one.runs]


def host_reads(
    module: Module, calls: float | None, rows: int = 1, experts: int = 1
) -> float:
    """Predicates that the host reads in a generation.

    One of each conditional, and of a loop whose turns are not known one at each turn
    and one to leave it.
    """
    every = list(running(module, calls, rows, experts))
    asked = {one.runs[0] for _, one, *_ in every if _open(one)}
    return sum(
        times
        for name, one, times, _ in every
        if one.op == "conditional" or (name in asked and one.is_root)
    )


def _open(one: Instruction) -> bool:
    return one.op == "while" and one.trips is None


def _open_loops(module: Module) -> Callable[[str], int]:
    """How many loops of unknown turns are within each other, by computation."""

    @functools.cache
    def count(name: str) -> int:
        return max(
            (_open(one) + max(map(count, one.runs), default=0))
            for one in module.computations[name]
        )

    return count


def _has_conditionals(module: Module) -> Callable[[str], bool]:
    """Whether there is a conditional within, by computation."""

    @functools.cache
    def has(name: str) -> bool:
        return any(
            one.op == "conditional" or any(map(has, one.runs))
            for one in module.computations[name]
        )

    return has
