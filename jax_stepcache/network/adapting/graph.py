"""A traced network as a graph that parts are taken of.

What a part needs is found from its end backwards, so what it does not need is never
handed to the compiler.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.core import eval_jaxpr
from jax.extend.core import DropVar, Literal

from jax_stepcache.network.adapting.marks import MARK

# Calls that mean no more than what they call. What is in others stays closed.
_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")


def inner_of(eqn: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr of an equation that has one, and its constants."""
    params = eqn.params
    closed = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
    return getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())


def holds(node: Any, wanted: Callable[[Any], bool]) -> bool:
    """Whether there is such an equation anywhere in a jaxpr, or what holds some."""
    if hasattr(node, "eqns"):
        return any(
            wanted(eqn) or holds(list(eqn.params.values()), wanted) for eqn in node.eqns
        )
    if hasattr(node, "jaxpr"):
        return holds(node.jaxpr, wanted)
    return isinstance(node, list | tuple) and any(holds(x, wanted) for x in node)


def is_mark(eqn: Any, kind: str | None = None) -> bool:
    """Whether an equation is a mark, of this kind."""
    return eqn.primitive is MARK and kind in (None, eqn.params["kind"])


def is_scan(eqn: Any) -> bool:
    """Whether an equation is a `jax.lax.scan`."""
    return eqn.primitive.name == "scan"


@dataclass(frozen=True, eq=False)
class Graph:
    """A jaxpr whose calls are written out where blocks may be in them.

    Attributes:
        jaxpr: the jaxpr.
        consts: values of its constants.
        producer: which equation gives a variable.
    """

    jaxpr: Any
    consts: Mapping[Any, Any]
    producer: Mapping[Any, int] = field(repr=False)

    @property
    def eqns(self) -> Sequence[Any]:
        """The equations, in order."""
        return self.jaxpr.eqns

    def needed(
        self, wanted: Iterable[Any], stops: Callable[[Any], bool]
    ) -> tuple[list[int], list[Any]]:
        """Which equations give variables.

        Args:
            wanted: the variables, or literals.
            stops: whether a variable is given.

        Returns:
            The equations, in order; and what is read that none of them gives.
        """
        found, read, seen = set(), [], set()
        left = [v for v in wanted if not isinstance(v, Literal)]
        while left:
            v = left.pop()
            if v in seen:
                continue
            seen.add(v)
            at = self.producer.get(v)
            if at is None or stops(v):
                read.append(v)
                continue
            eqn = self.eqns[at]
            if is_mark(eqn):
                found.add(at)
                before = eqn.invars[eqn.outvars.index(v)]
                left.extend([] if isinstance(before, Literal) else [before])
            elif at not in found:
                found.add(at)
                left.extend(x for x in eqn.invars if not isinstance(x, Literal))
        return sorted(found), read

    def evaluate(self, wanted: Sequence[Any], given: Mapping[Any, Any]) -> list[Any]:
        """Values of variables.

        Args:
            wanted: the variables, or literals.
            given: values of some, from which the others are computed.

        Returns:
            The values.
        """
        values = {**self.consts, **given}
        which, _ = self.needed(wanted, values.__contains__)
        _run(self.jaxpr, [self.eqns[i] for i in which], values)
        return [_read(v, values) for v in wanted]


def graph_of(function: Callable[..., Any], *args: Any) -> Graph:
    """Traces a function.

    Args:
        function: of arrays, to a list of arrays.
        args: the arrays, or structs.
    """
    flat = jax.make_jaxpr(function)(*args)
    if any(_is_opened(eqn) for eqn in flat.jaxpr.eqns):
        closed = flat
        flat = jax.make_jaxpr(lambda *x: _opened(closed.jaxpr, closed.consts, x))(*args)
    producer = {v: i for i, eqn in enumerate(flat.jaxpr.eqns) for v in eqn.outvars}
    consts = dict(zip(flat.jaxpr.constvars, flat.consts, strict=True))
    return Graph(flat.jaxpr, consts, producer)


def _is_opened(eqn: Any) -> bool:
    def worth(inner: Any) -> bool:
        return is_mark(inner) or is_scan(inner)

    return eqn.primitive.name in _CALLS and holds(list(eqn.params.values()), worth)


def _opened(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Goes through a jaxpr, and into the calls in it that may hold blocks."""
    values = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for opened, eqns in itertools.groupby(jaxpr.eqns, _is_opened):
        if not opened:
            _run(jaxpr, list(eqns), values, marks=True)
            continue
        for eqn in eqns:
            inner, inner_consts = inner_of(eqn)
            given = [_read(v, values) for v in eqn.invars]
            said = _opened(inner, inner_consts, given)
            values.update(zip(eqn.outvars, said, strict=True))
    return [_read(v, values) for v in jaxpr.outvars]


def _run(
    jaxpr: Any, eqns: Sequence[Any], values: dict[Any, Any], marks: bool = False
) -> None:
    """Evaluates equations in order, and adds what they give to the values.

    Args:
        jaxpr: where they are from.
        eqns: the equations.
        values: of what they read.
        marks: whether marks are kept, rather than taken out.
    """
    for taken, group in itertools.groupby(eqns, lambda e: is_mark(e) and not marks):
        if taken:
            for eqn in group:
                for out, v in zip(eqn.outvars, eqn.invars, strict=True):
                    if isinstance(v, Literal) or v in values:
                        values[out] = _read(v, values)
            continue
        some = list(group)
        given = [v for e in some for v in e.outvars if not isinstance(v, DropVar)]
        inside = set(given)
        read = list(dict.fromkeys(v for v in _reads(some) if v not in inside))
        part = jaxpr.replace(constvars=[], invars=read, outvars=given, eqns=some)
        said = eval_jaxpr(part, (), *(values[v] for v in read))
        values.update(zip(given, said, strict=True))


def _reads(eqns: Sequence[Any]) -> Iterator[Any]:
    return (v for eqn in eqns for v in eqn.invars if not isinstance(v, Literal))


def _read(v: Any, values: Mapping[Any, Any]) -> Any:
    return v.val if isinstance(v, Literal) else values[v]
