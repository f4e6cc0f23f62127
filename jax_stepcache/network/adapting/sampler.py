"""A network inside its own sampler: the loop's body is the network, once a step.

What the sampler computes before its loop, such as keys and values of a prefix, is made
once and becomes the condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import eval_jaxpr
from jax.extend.core import Literal

from jax_stepcache.check import check_leaves, structs_of
from jax_stepcache.network.adapting.graph import Graph, graph_of
from jax_stepcache.network.adapting.kinds import Network
from jax_stepcache.network.adapting.problems import odd_sampler
from jax_stepcache.nodes import register_dataclass


@register_dataclass
@dataclass(frozen=True, eq=False)
class Before:
    """What a sampler computes before its loop.

    Attributes:
        arrays: what the loop reads of it.
        rows: of the sample.
        seen: structs of what the sampler was shown, and their structure.
    """

    arrays: tuple[jax.Array, ...]
    rows: int = field(metadata={"static": True})
    seen: tuple[tuple[Any, ...], Any] = field(metadata={"static": True})


@dataclass(frozen=True, eq=False)
class SamplerNetwork:
    """The network in a sampler's loop.

    Attributes:
        inner: the sampler as a network, which says the last sample.
    """

    inner: Network

    @property
    def names(self) -> tuple[str, ...]:
        """See `Network.names`."""
        return self.inner.names

    @property
    def count(self) -> int:
        """See `Network.count`."""
        return self.inner.count

    def stacked(self, weights: Any) -> list[Any]:
        """See `Network.stacked`."""
        return self.inner.stacked(weights)

    def before(self, weights: Any, noise: Any, seen: Any) -> Before:
        """What is computed before the loop."""
        check_leaves(seen, "seen")
        check_leaves(noise, "noise")
        leaves, structure = jax.tree.flatten(seen)
        structs = tuple(structs_of(leaves))
        loop = self._loop(weights, noise, (structs, structure), marked=False)
        values = loop.values(weights, leaves)
        arrays = loop.graph.evaluate(loop.read, values)
        return Before(tuple(arrays), noise.shape[0], (structs, structure))

    def called(
        self, weights: Any, sample: Any, t: Any, condition: Any, marked: bool = True
    ) -> Any:
        """See `Network.called`; the condition is a `Before`."""
        if not isinstance(condition, Before):
            raise TypeError(
                f"condition is a {type(condition).__name__}; of a network that was "
                "adapted with sampler= it is model.condition(weights, noise, ...)"
            )
        if sample.shape[0] != condition.rows:
            raise ValueError(
                f"the condition was made for {condition.rows} rows and the network is "
                f"given {sample.shape[0]}; a sampler's loop is traced for all rows "
                "together. With call= rows may come apart"
            )
        loop = self._loop(weights, sample, condition.seen, marked)
        values = loop.values(weights, [])
        values.update(zip(loop.read, condition.arrays, strict=True))
        return loop.velocity(values, sample, t)

    def _loop(self, weights: Any, sample: Any, seen: Any, marked: bool) -> _Loop:
        leaves, structure = jax.tree.flatten(weights)
        structs, other = seen
        count = len(leaves)

        def call(*given: Any) -> Any:
            own = jax.tree.unflatten(structure, given[:count])
            shown = jax.tree.unflatten(other, given[count + 1 :])
            said = self.inner.called(own, given[count], None, shown, marked)
            return jax.tree.leaves(said)

        graph = graph_of(call, *leaves, sample, *structs)
        return _loop_of(graph, count)


@dataclass(frozen=True, eq=False)
class _Loop:
    """The loop of a traced sampler.

    Attributes:
        graph: the sampler.
        weights: how many of its inputs are weights.
        eqn: the loop.
        read: what its body reads that depends on what the sampler was shown.
        at: which of what is carried is the sample, and which the time.
        begins: the time at noise.
    """

    graph: Graph
    weights: int
    eqn: Any
    read: tuple[Any, ...]
    at: tuple[int, int]
    begins: float

    def values(self, weights: Any, seen: Sequence[Any]) -> dict[Any, Any]:
        """Values of the sampler's inputs, but for the noise."""
        inputs = self.graph.jaxpr.invars
        known = dict(zip(inputs, jax.tree.leaves(weights), strict=False))
        known.update(zip(inputs[self.weights + 1 :], seen, strict=False))
        return known

    def velocity(self, values: Mapping[Any, Any], sample: Any, t: Any) -> jax.Array:
        """What the body adds to the sample, a unit of time."""
        consts, carry = _parts(self.eqn)
        body = self.eqn.params["body_jaxpr"]

        def run(*given: Any) -> Any:
            return eval_jaxpr(body.jaxpr, body.consts, *given)

        inside = graph_of(run, *(v.aval for v in (*consts, *carry)))
        given = self.graph.evaluate(consts, values)
        known = dict(zip(inside.jaxpr.invars, given, strict=False))
        x, time = (inside.jaxpr.invars[len(consts) + i] for i in self.at)
        y, later = (inside.jaxpr.outvars[i] for i in self.at)
        known[x] = sample.astype(x.aval.dtype)
        for v in _told(inside, time, sample.shape[0]):
            known[v] = t.astype(v.aval.dtype)
        added, factor = _step(inside, x, y)
        passed, unit = _step(inside, time, later)
        _, reads = inside.needed([added], known.__contains__)
        if time in reads or not isinstance(passed, Literal):
            raise ValueError(odd_sampler("uses time otherwise than one for each row"))
        scale = self.begins * factor / (unit * float(passed.val))
        said = inside.evaluate([added], known)[0]
        return said if scale == 1 else said * jnp.asarray(scale, said.dtype)


def _loop_of(graph: Graph, weights: int) -> _Loop:
    """Finds the loop over steps, the only one that carries the sample and a time."""
    noise = graph.jaxpr.invars[weights]
    shown = set(graph.jaxpr.invars[weights + 1 :])
    for eqn in graph.eqns:
        if eqn.primitive.name != "while":
            continue
        consts, carry = _parts(eqn)
        samples = [i for i, v in enumerate(carry) if v is noise]
        times = [
            i
            for i, v in enumerate(carry)
            if v.aval.shape == () and jnp.issubdtype(v.aval.dtype, jnp.floating)
        ]
        if len(samples) != 1 or len(times) != 1:
            continue
        begins = carry[times[0]]
        if not isinstance(begins, Literal) or not float(begins.val) > 0:
            raise ValueError(odd_sampler("begins at a time that is not told"))
        read = []
        for v in dict.fromkeys(v for v in consts if not isinstance(v, Literal)):
            _, reads = graph.needed([v], lambda v: False)
            if noise in reads:
                raise ValueError(odd_sampler("reads the noise at every step"))
            if shown & set(reads):
                read.append(v)
        at = samples[0], times[0]
        return _Loop(graph, weights, eqn, tuple(read), at, float(begins.val))
    raise ValueError(
        odd_sampler("has no loop that carries the noise it is given, and a time")
    )


def _parts(eqn: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """What the body of a loop reads, and what it carries."""
    first = eqn.params["cond_nconsts"]
    last = first + eqn.params["body_nconsts"]
    return eqn.invars[first:last], eqn.invars[last:]


def _told(graph: Graph, time: Any, rows: int) -> list[Any]:
    """Where the time becomes one for each row."""
    same, found = {time}, []
    for eqn in graph.eqns:
        if not any(v in same for v in eqn.invars if not isinstance(v, Literal)):
            continue
        if eqn.primitive.name == "convert_element_type":
            same.update(eqn.outvars)
        elif eqn.primitive.name == "broadcast_in_dim":
            found.extend(v for v in eqn.outvars if v.aval.shape == (rows,))
    return found


def _step(graph: Graph, before: Any, after: Any) -> tuple[Any, float]:
    """What is added to something in a step, and times which number."""
    eqn = graph.eqns[graph.producer[after]] if after in graph.producer else None
    name = "" if eqn is None else eqn.primitive.name
    if eqn is None or name not in ("add", "sub") or before not in eqn.invars[:2]:
        raise ValueError(odd_sampler("does not go on by adding to the sample"))
    one, other = eqn.invars
    if name == "sub" and one is not before:
        raise ValueError(odd_sampler("does not go on by adding to the sample"))
    added = other if one is before else one
    sign = -1.0 if name == "sub" else 1.0
    if isinstance(added, Literal):
        return added, sign
    made = graph.eqns[graph.producer[added]] if added in graph.producer else None
    if made is not None and made.primitive.name == "mul":
        numbers = [v for v in made.invars if isinstance(v, Literal)]
        rest = [v for v in made.invars if not isinstance(v, Literal)]
        if len(numbers) == 1 and len(rest) == 1:
            return rest[0], sign * float(numbers[0].val)
    raise ValueError(odd_sampler("has no step that is a number times the velocity"))
