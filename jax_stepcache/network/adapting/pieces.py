"""The blocks of a traced network, and what flows from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import Literal

from jax_stepcache.network.adapting.graph import Graph, graph_of, inner_of, is_mark
from jax_stepcache.network.adapting.marks import LOOK


@dataclass(frozen=True, eq=False)
class Block:
    """One call of a block.

    Attributes:
        enters: equations that mark where it begins, and where it ends.
        leaves: likewise.
        outs: which of the arrays that leave it are read by what follows.
    """

    enters: Any
    leaves: Any
    outs: tuple[int, ...] = ()

    count = 1

    @property
    def given(self) -> Sequence[Any]:
        """What it may be given: arrays as they enter."""
        return self.enters.invars

    @property
    def entered(self) -> Sequence[Any]:
        """The same, as the block reads it."""
        return self.enters.outvars

    @property
    def result(self) -> Sequence[Any]:
        """What it returns."""
        return self.leaves.outvars

    def wanted(self) -> list[Any]:
        """What must be known to run it."""
        return [self.leaves.invars[k] for k in self.outs]

    def run(self, graph: Graph, values: Any, hidden: Any, start: int, stop: int) -> Any:
        """Runs it.

        Args:
            graph: where it is from.
            values: of what is known.
            hidden: what flows, where it is not among these.
            start: 0.
            stop: 1.

        Returns:
            What leaves it, for ``outs``.
        """
        del hidden, start, stop
        return graph.evaluate(self.wanted(), values)


@dataclass(frozen=True, eq=False)
class Stack:
    """Blocks that a `jax.lax.scan` goes through.

    Attributes:
        eqn: the scan.
        consts: how many of its inputs all blocks read.
        carry: how many are carried.
        outs: which of what is carried flows through the blocks.
        counters: which is carried besides, and does not depend on it.
    """

    eqn: Any
    consts: int
    carry: int
    outs: tuple[int, ...] = ()
    counters: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        """How many blocks."""
        return self.eqn.params["length"]

    @property
    def given(self) -> Sequence[Any]:
        """What is carried, as it enters."""
        return self.eqn.invars[self.consts : self.consts + self.carry]

    @property
    def entered(self) -> Sequence[Any]:
        """The same."""
        return self.given

    @property
    def result(self) -> Sequence[Any]:
        """What it returns."""
        return self.eqn.outvars

    def wanted(self) -> list[Any]:
        """What must be known to run it, besides what flows."""
        end = self.consts + self.carry
        rest = [v for k, v in enumerate(self.given) if k not in self.outs]
        return [*self.eqn.invars[: self.consts], *rest, *self.eqn.invars[end:]]

    def run(self, graph: Graph, values: Any, hidden: Any, start: int, stop: int) -> Any:
        """Runs some of the blocks; see `Block.run`."""
        carry: list[Any] = [None] * self.carry
        rest = [k for k in range(self.carry) if k not in self.outs]
        known = graph.evaluate(self.wanted(), values)
        consts, known = known[: self.consts], known[self.consts :]
        for k, x in zip(rest, known, strict=False):
            carry[k] = x
        stacked = known[len(rest) :]
        if hidden is None:
            hidden = graph.evaluate([self.given[k] for k in self.outs], values)
        for k, x in zip(self.outs, hidden, strict=True):
            carry[k] = x
        if start and self.counters:
            early = self._scan(consts, carry, stacked, 0, start, self.counters)
            for k, x in zip(self.counters, early, strict=True):
                carry[k] = x
        return self._scan(consts, carry, stacked, start, stop, self.outs)

    def look(self, graph: Graph, values: Any, hidden: Any) -> jax.Array | None:
        """What is looked at in the first block; None if nothing is."""
        known = graph.evaluate(self.wanted(), values)
        rest = [k for k in range(self.carry) if k not in self.outs]
        consts, known = known[: self.consts], known[self.consts :]
        carry = dict(zip(rest, known, strict=False))
        carry.update(zip(self.outs, hidden, strict=True))
        first = self._layer(0)
        layer = [x[first] for x in known[len(rest) :]]
        given = [*consts, *(carry[k] for k in range(self.carry)), *layer]
        jaxpr, inner_consts = inner_of(self.eqn)
        body = graph_of(lambda *x: eval_jaxpr(jaxpr, inner_consts, *x), *given)
        looks = [eqn for eqn in body.eqns if is_mark(eqn, LOOK)]
        if not looks:
            return None
        values = dict(zip(body.jaxpr.invars, given, strict=True))
        return body.evaluate([looks[0].invars[0]], values)[0]

    def _layer(self, i: Any) -> Any:
        return self.count - 1 - i if self.eqn.params["reverse"] else i

    def _scan(
        self, consts: Any, carry: Any, stacked: Any, start: int, stop: int, outs: Any
    ) -> Any:
        """What some of the carried arrays are behind some of the blocks."""
        jaxpr, inner_consts = inner_of(self.eqn)

        def body(*args: Any) -> Any:
            return eval_jaxpr(jaxpr, inner_consts, *args)

        def block(carry: Any, i: jax.Array) -> Any:
            # By its place: a slice of stacked weights would be a copy of them.
            at = self._layer(i)
            layer = [
                jax.lax.dynamic_index_in_dim(x, at, keepdims=False) for x in stacked
            ]
            given = [*consts, *carry, *layer]
            graph = graph_of(body, *given)
            values = dict(zip(graph.jaxpr.invars, given, strict=True))
            after = graph.evaluate(graph.jaxpr.outvars[: self.carry], values)
            # What is carried is what the network's own scan has carried.
            kept = [
                jnp.asarray(new, old.dtype)
                for new, old in zip(after, carry, strict=True)
            ]
            return kept, None

        layers = jnp.arange(start, stop, dtype=jnp.int32)
        unroll = min(self.eqn.params["unroll"], max(stop - start, 1))
        carry = [jnp.asarray(x) for x in carry]
        after, _ = jax.lax.scan(block, carry, layers, unroll=unroll)
        return [after[k] for k in outs]


Piece = Block | Stack


def stack_of(eqn: Any) -> Stack:
    """A scan as a stack of blocks, by the shapes of what it is given."""
    body, _ = inner_of(eqn)
    xs = sum(
        v.aval.ndim != inner.aval.ndim
        for v, inner in zip(eqn.invars, body.invars, strict=True)
    )
    ys = sum(
        v.aval.ndim != inner.aval.ndim
        for v, inner in zip(eqn.outvars, body.outvars, strict=True)
    )
    carry = len(eqn.outvars) - ys
    return Stack(eqn, len(eqn.invars) - xs - carry, carry)


def flowing(stack: Stack, read: Sequence[int]) -> Stack:
    """A stack that knows which of what it carries flows through its blocks.

    Args:
        stack: the stack.
        read: which of its results are read by what follows.

    Raises:
        ValueError: if something is read that each block returns besides, or a counter
            depends on what flows.
    """
    beside = [k for k in read if k >= stack.carry]
    if beside:
        raise ValueError(
            f"the scan over the blocks returns something of each block (its result "
            f"{beside[0]}, {stack.result[beside[0]].aval.str_short()}) that is read "
            "behind it; a cache that skips blocks has none of it. step_cache and "
            "static serve any network as it is"
        )
    body, _ = inner_of(stack.eqn)
    entered = body.invars[stack.consts : stack.consts + stack.carry]
    place = {v: k for k, v in enumerate(entered)}
    reads = [_depends(body, body.outvars[k], place) for k in range(stack.carry)]
    live, left = set(), list(read)
    while left:
        k = left.pop()
        if k not in live:
            live.add(k)
            left.extend(reads[k])
    varying = [k for k in sorted(live) if body.outvars[k] is not entered[k]]
    flow = [k for k in varying if jnp.issubdtype(entered[k].aval.dtype, jnp.inexact)]
    counters = [k for k in varying if k not in flow]
    odd = [k for k in counters if reads[k] & set(flow)]
    if odd:
        raise ValueError(
            f"the scan over the blocks carries {entered[odd[0]].aval.str_short()}, "
            "which depends on what the blocks compute; a cache adds and subtracts what "
            "flows through blocks, so that must be floating"
        )
    return Stack(stack.eqn, stack.consts, stack.carry, tuple(flow), tuple(counters))


def _depends(body: Any, wanted: Any, place: dict[Any, int]) -> set[int]:
    """Which of the carried arrays a result of a scan's body depends on."""
    if isinstance(wanted, Literal):
        return set()
    reach = {wanted}
    for eqn in reversed(body.eqns):
        if any(v in reach for v in eqn.outvars):
            if is_mark(eqn):
                pairs = zip(eqn.outvars, eqn.invars, strict=True)
                reach.update(
                    v for o, v in pairs if o in reach and not isinstance(v, Literal)
                )
            else:
                reach.update(v for v in eqn.invars if not isinstance(v, Literal))
    return {place[v] for v in reach if v in place}
