"""Two streams that go on as one: their tokens, one behind the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal

from jax_stepcache.network.adapting.graph import Graph, is_mark

# What changes neither the shape nor the place of a token.
_PLAIN = ("convert_element_type", "sharding_constraint", "copy", "copy_p")


@dataclass(frozen=True)
class Join:
    """How several arrays lie in one.

    Attributes:
        axis: along which they lie.
        lengths: how long each is, in the order in which they lie.
        order: which of them lies where.
    """

    axis: int
    lengths: tuple[int, ...]
    order: tuple[int, ...]

    def together(self, arrays: Sequence[jax.Array]) -> jax.Array:
        """One array of several."""
        return jnp.concatenate([arrays[k] for k in self.order], self.axis)

    def apart(self, array: jax.Array) -> list[jax.Array]:
        """Several arrays of one."""
        ends = list(itertools.accumulate(self.lengths))[:-1]
        found: list[Any] = [None] * len(self.order)
        parts = jnp.split(array, ends, self.axis)
        for k, part in zip(self.order, parts, strict=True):
            found[k] = part
        return found


def joined(graph: Graph, before: Any, after: Any) -> Join | None:
    """How what flows out of one block lies in what the next one is given.

    Args:
        graph: where both are from.
        before: the block that several arrays flow out of.
        after: the one that one array flows out of.

    Returns:
        The join; None if it is none.
    """
    if len(after.outs) != 1:
        return None
    results = [before.result[k] for k in before.outs]
    for entering in after.given:
        v = _plainly(graph, entering)
        at = None if isinstance(v, Literal) else graph.producer.get(v)
        if at is None or graph.eqns[at].primitive.name != "concatenate":
            continue
        eqn = graph.eqns[at]
        parts = [_plainly(graph, x) for x in eqn.invars]
        if len(parts) == len(results) and all(x in results for x in parts):
            axis = eqn.params["dimension"]
            lengths = tuple(x.aval.shape[axis] for x in parts)
            return Join(axis, lengths, tuple(results.index(x) for x in parts))
    return None


def _plainly(graph: Graph, v: Any) -> Any:
    """Where a variable comes from, past what changes only its dtype or placement."""
    while not isinstance(v, Literal) and v in graph.producer:
        eqn = graph.eqns[graph.producer[v]]
        if is_mark(eqn, "enter"):
            v = eqn.invars[eqn.outvars.index(v)]
        elif eqn.primitive.name in _PLAIN:
            v = eqn.invars[0]
        else:
            break
    return v
