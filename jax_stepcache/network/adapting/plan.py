"""How a traced network comes apart: what is before, in and behind its blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from jax_stepcache.network.adapting.graph import Graph, is_mark, is_scan
from jax_stepcache.network.adapting.join import Join, joined
from jax_stepcache.network.adapting.marks import ENTER, LEAVE, LOOK
from jax_stepcache.network.adapting.pieces import (
    Block,
    Piece,
    Stack,
    flowing,
    stack_of,
)
from jax_stepcache.network.adapting.problems import (
    no_blocks,
    not_kept,
    out_of_order,
    reads_earlier,
    wrong_count,
)


class Depends(NamedTuple):
    """What a variable depends on.

    Attributes:
        given: whether on the sample, the timestep or the condition.
        pieces: on which results of which pieces, not through another one.
    """

    given: bool = False
    pieces: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, eq=False)
class Plan:
    """A network taken apart.

    Attributes:
        graph: the traced network.
        weights: how many of its inputs are weights.
        pieces: its blocks, in order.
        joins: how what flows through each piece comes from what flows through the
            first one; None where it is the same.
        entering: which of what the first piece is given flows.
        residuals: what stages read that is computed before the blocks.
        look: what is looked at in block 0, where it is one call; or None.
        said: the structure of what the network says.
    """

    graph: Graph
    weights: int
    pieces: tuple[Piece, ...]
    joins: tuple[Join | None, ...]
    entering: tuple[int, ...]
    residuals: tuple[Any, ...]
    look: Any = None
    said: Any = None

    @property
    def hidden(self) -> list[Any]:
        """The variables that flow into the first piece."""
        return [self.pieces[0].given[k] for k in self.entering]

    @property
    def entries(self) -> list[Any]:
        """The same, as the first piece reads them."""
        return [self.pieces[0].entered[k] for k in self.entering]

    @property
    def inputs(self) -> Sequence[Any]:
        """The variables of the weights, and of what is given."""
        return self.graph.jaxpr.invars

    def embed(self, values: Mapping[Any, Any]) -> tuple[list[Any], list[Any]]:
        """What flows into the blocks, and the residuals."""
        wanted = [*self.hidden, *self.residuals]
        said = self.graph.evaluate(wanted, values)
        return said[: len(self.hidden)], said[len(self.hidden) :]

    def blocks(
        self, values: Mapping[Any, Any], hidden: Sequence[Any], start: int, stop: int
    ) -> list[Any]:
        """Goes through some of the blocks.

        Args:
            values: of the inputs and the residuals.
            hidden: what flows into the first of them.
            start: the first of them.
            stop: the one behind the last.

        Returns:
            What flows out of the last.
        """
        known, flow = dict(values), list(hidden)
        if start == stop:
            return flow
        offset, entered = 0, False
        for i, piece in enumerate(self.pieces):
            a, b = max(start - offset, 0), min(stop - offset, piece.count)
            offset += piece.count
            if a >= b:
                continue
            given = None
            if not entered and a:
                given = _into(self.joins[i], flow)
            elif not entered and i:
                self._left(known, i - 1, flow)
            elif not entered:
                given = flow
                known.update(_as(self.entries, flow))
            entered = True
            said = piece.run(self.graph, known, given, a, b)
            flow = _out_of(self.joins[i], said)
            outs = [piece.result[k] for k in piece.outs]
            known.update(zip(outs, said, strict=True))
        return flow

    def head(self, values: Mapping[Any, Any], hidden: Sequence[Any]) -> list[Any]:
        """What the network says, of what flows out of the last block."""
        known = dict(values)
        self._left(known, len(self.pieces) - 1, hidden)
        return self.graph.evaluate(self.graph.jaxpr.outvars, known)

    def looked_at(
        self, values: Mapping[Any, Any], hidden: Sequence[Any]
    ) -> jax.Array | None:
        """What is looked at in the first block, of what flows into it."""
        first = self.pieces[0]
        if isinstance(first, Stack):
            return first.look(self.graph, values, hidden)
        if self.look is None:
            return None
        known = {**values, **_as(self.entries, hidden)}
        return self.graph.evaluate([self.look], known)[0]

    def _left(self, known: dict[Any, Any], i: int, flow: Sequence[Any]) -> None:
        """Notes what has flowed out of a piece."""
        piece = self.pieces[i]
        outs = [piece.result[k] for k in piece.outs]
        known.update(_as(outs, _into(self.joins[i], flow)))


def plan_of(
    graph: Graph, weights: int, count: int, stacked: Sequence[int], names: Any
) -> Plan:
    """Takes a traced network apart.

    Args:
        graph: of ``(weights, sample, t, condition)``, flat.
        weights: how many of its inputs are weights.
        count: how many blocks there must be.
        stacked: which weights are those of stacked blocks.
        names: of the blocks that are called one by one, in order.

    Returns:
        The plan.

    Raises:
        ValueError: if blocks are not called as they must be, or something passes by
            them.
    """
    depends, pieces = _followed(graph, weights, stacked)
    if not pieces:
        raise ValueError(no_blocks(graph, names, bool(stacked)))
    order = [p.enters.params["index"] for p in pieces if isinstance(p, Block)]
    if names and order != list(range(len(names))):
        raise ValueError(out_of_order(order, names))
    found = sum(piece.count for piece in pieces)
    if found != count:
        raise ValueError(wrong_count(found, count))
    pieces = _with_outs(graph, depends, pieces)
    entering = _entering(depends, pieces)
    joins = _joins(graph, pieces)
    before = _before(graph, depends, pieces[0])
    look = next((e.invars[0] for e in graph.eqns if is_mark(e, LOOK)), None)
    plan = Plan(graph, weights, tuple(pieces), joins, entering, (), look)
    return replace(plan, residuals=_residuals(plan, before))


def _followed(
    graph: Graph, weights: int, stacked: Sequence[int]
) -> tuple[dict[Any, Depends], list[Piece]]:
    """Follows what depends on what, and finds the pieces."""
    inputs = graph.jaxpr.invars
    depends = {v: Depends(i >= weights) for i, v in enumerate(inputs)}
    stack = {inputs[i] for i in stacked}
    pieces: list[Piece] = []
    enters: dict[int, Any] = {}

    def of(atoms: Sequence[Any]) -> Depends:
        known = [depends.get(v, Depends()) for v in atoms if not isinstance(v, Literal)]
        given = any(d.given for d in known)
        return Depends(given, frozenset().union(*(d.pieces for d in known)))

    for eqn in graph.eqns:
        if is_mark(eqn) and not is_mark(eqn, LEAVE):
            if is_mark(eqn, ENTER):
                enters[eqn.params["index"]] = eqn
            for out, v in zip(eqn.outvars, eqn.invars, strict=True):
                depends[out] = of([v])
            continue
        piece: Piece | None = None
        if is_mark(eqn, LEAVE):
            piece = Block(enters[eqn.params["index"]], eqn)
        elif is_scan(eqn) and stack and of(eqn.invars).given:
            found = stack_of(eqn)
            layers = eqn.invars[found.consts + found.carry :]
            _, read = graph.needed(layers, lambda v: False)
            piece = found if stack & set(read) else None
        if piece is None:
            known = of(eqn.invars)
            depends.update(dict.fromkeys(eqn.outvars, known))
            continue
        for k, v in enumerate(eqn.outvars):
            depends[v] = Depends(True, frozenset({(len(pieces), k)}))
        pieces.append(piece)
    return depends, pieces


def _with_outs(
    graph: Graph, depends: Mapping[Any, Depends], pieces: Sequence[Piece]
) -> list[Piece]:
    """Finds which results of each piece are read by what follows."""
    told: list[Piece] = []
    for i, piece in enumerate(pieces):
        last = i + 1 == len(pieces)
        after = graph.jaxpr.outvars if last else _wanted(pieces[i + 1])
        sources = {
            source
            for v in after
            if not isinstance(v, Literal)
            for source in depends[v].pieces
        }
        earlier = sorted(j for j, _ in sources if j != i)
        if earlier:
            raise ValueError(reads_earlier(earlier[0], i, last))
        outs = sorted(k for j, k in sources if j == i)
        if isinstance(piece, Stack):
            told.append(flowing(piece, outs))
        else:
            told.append(replace(piece, outs=tuple(outs)))
    return told


def _wanted(piece: Piece) -> Sequence[Any]:
    """What must be known to run a piece, what flows through it included."""
    if isinstance(piece, Stack):
        return piece.eqn.invars
    return piece.leaves.invars


def _entering(depends: Mapping[Any, Depends], pieces: Sequence[Piece]) -> tuple:
    """Which of what the first piece is given flows, in the order of its results."""
    first = pieces[0]
    if isinstance(first, Stack):
        return first.outs
    second = pieces[1] if len(pieces) > 1 else None
    alike = isinstance(second, Block) and len(second.given) == len(first.given)
    places: list[int] = []
    for k in first.outs:
        wanted = first.result[k].aval.shape
        fits = [
            p
            for p, v in enumerate(first.given)
            if p not in places and v.aval.shape == wanted
        ]
        later = [p for p in fits if alike and _comes_from(depends, second, p, k)]
        fits = later or [p for p in fits if _is_given(depends, first.given[p])] or fits
        if not fits:
            raise ValueError(not_kept(first, k))
        places.append(fits[0])
    return tuple(places)


def _comes_from(depends: Mapping[Any, Depends], piece: Any, p: int, k: int) -> bool:
    v = piece.given[p]
    return not isinstance(v, Literal) and (0, k) in depends[v].pieces


def _is_given(depends: Mapping[Any, Depends], v: Any) -> bool:
    return not isinstance(v, Literal) and depends[v].given


def _joins(graph: Graph, pieces: Sequence[Piece]) -> tuple[Join | None, ...]:
    """How what flows through each piece comes from what flows through the first."""
    shapes = _shapes(pieces[0])
    found: list[Join | None] = []
    for i, piece in enumerate(pieces):
        if _shapes(piece) == shapes:
            found.append(None)
        elif i and found[-1] is not None and _shapes(piece) == _shapes(pieces[i - 1]):
            found.append(found[-1])
        elif i and found[-1] is None and (join := joined(graph, pieces[i - 1], piece)):
            found.append(join)
        else:
            raise ValueError(not_kept(piece, None, shapes))
    return tuple(found)


def _shapes(piece: Piece) -> list[tuple[int, ...]]:
    return [piece.result[k].aval.shape for k in piece.outs]


def _into(join: Join | None, flow: Sequence[Any]) -> Sequence[Any]:
    return flow if join is None else [join.together(flow)]


def _out_of(join: Join | None, flow: Sequence[Any]) -> list[Any]:
    return list(flow) if join is None else join.apart(flow[0])


def _as(variables: Sequence[Any], flow: Sequence[Any]) -> dict[Any, Any]:
    """Values of variables, in their dtypes."""
    pairs = zip(variables, flow, strict=True)
    return {v: x.astype(v.aval.dtype) for v, x in pairs}


def _before(
    graph: Graph, depends: Mapping[Any, Depends], first: Piece
) -> Callable[[Any], bool]:
    """Whether a variable is computed before the blocks, of what is given."""
    eqn = first.eqn if isinstance(first, Stack) else first.enters
    begins = next(i for i, one in enumerate(graph.eqns) if one is eqn)

    def before(v: Any) -> bool:
        return graph.producer[v] < begins and depends[v].given

    return before


def _residuals(plan: Plan, before: Callable[[Any], bool]) -> tuple[Any, ...]:
    """What stages read that is computed before the blocks, in order."""
    graph = plan.graph
    entries = set(plan.entries)
    results = {v for piece in plan.pieces for v in piece.result}
    wanted = list(graph.jaxpr.outvars)
    for piece in plan.pieces:
        wanted.extend(piece.wanted())
    if plan.look is not None:
        wanted.append(plan.look)

    def stops(v: Any) -> bool:
        return v in results or v in entries or before(v)

    found: set[Any] = set()
    for one in wanted:
        _, read = graph.needed([one], stops)
        found.update(v for v in read if v in graph.producer and before(v))
    found -= results | entries
    return tuple(sorted(found, key=lambda v: (graph.producer[v], _place(graph, v))))


def _place(graph: Graph, v: Any) -> int:
    return list(graph.eqns[graph.producer[v]].outvars).index(v)
