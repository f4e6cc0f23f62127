"""`adapt`: anybody's network, taken apart for caches that look inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax

from jax_stepcache.errors import brief, naming_arguments
from jax_stepcache.network.adapting.graph import graph_of
from jax_stepcache.network.adapting.networks import (
    FunctionNetwork,
    LinenNetwork,
    ModuleNetwork,
    Network,
    arrays_of,
    flat_blocks,
    is_listed,
    matched,
    stacked_count,
)
from jax_stepcache.network.adapting.plan import Plan, plan_of


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Context:
    """What blocks and head read besides the tokens.

    Attributes:
        given: sample, timesteps and condition.
        residuals: what was computed before the blocks.
        plan: where these belong.
        shapes: of what was given; with others the network is traced anew.
    """

    given: Any
    residuals: tuple[jax.Array, ...]
    plan: Plan = field(metadata={"static": True})
    shapes: tuple[Any, ...] = field(metadata={"static": True})


@dataclass(frozen=True, eq=False)
class Adapted:
    """A network in stages that were found by tracing it; see `adapt`.

    Attributes:
        network: the network.
        num_blocks: how many blocks there are.
        modulated: for TeaCache; None where it was not asked for.
    """

    network: Network
    num_blocks: int
    modulated: Callable[[Any, Any, Any], jax.Array] | None = None

    @property
    def __name__(self) -> str:
        """How errors name it."""
        return f"adapted {type(self.network).__name__}"

    def __call__(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The whole network, as it is."""
        return self.network.called(weights, sample, t, condition, marked=False)

    def embed(
        self, weights: Any, sample: Any, t: Any, condition: Any
    ) -> tuple[Any, Context]:
        """See `Stages.embed`."""
        given = (sample, t, condition)
        plan = self._plan(weights, given)
        hidden, residuals = plan.embed(self._inputs(plan, weights, given))
        return _packed(hidden), Context(given, tuple(residuals), plan, _shapes(given))

    def blocks(
        self, weights: Any, hidden: Any, context: Context, start: int, stop: int
    ) -> Any:
        """See `Stages.blocks`."""
        plan, values = self._known(weights, context)
        return _packed(plan.blocks(values, jax.tree.leaves(hidden), start, stop))

    def head(self, weights: Any, hidden: Any, context: Context) -> Any:
        """See `Stages.head`."""
        plan, values = self._known(weights, context)
        said = plan.head(values, jax.tree.leaves(hidden))
        struct = jax.eval_shape(self.__call__, weights, *context.given)
        return jax.tree.unflatten(jax.tree.structure(struct), said)

    def _known(self, weights: Any, context: Context) -> tuple[Plan, dict[Any, Any]]:
        """The plan for what was given, and the values that stages begin with."""
        plan = context.plan
        if _shapes(context.given) != context.shapes:
            plan = self._plan(weights, context.given)
        values = self._inputs(plan, weights, context.given)
        kinds = [(v.aval.shape, v.aval.dtype) for v in plan.residuals]
        if kinds == [(x.shape, x.dtype) for x in context.residuals]:
            values.update(zip(plan.residuals, context.residuals, strict=True))
        return plan, values

    def _inputs(self, plan: Plan, weights: Any, given: Any) -> dict[Any, Any]:
        return dict(zip(plan.inputs, jax.tree.leaves((weights, given)), strict=True))

    def _plan(self, weights: Any, given: Any) -> Plan:
        leaves, structure = jax.tree.flatten((weights, given))
        count = len(jax.tree.leaves(weights))
        stacked: list[int] = []

        def call(*leaves: Any) -> Any:
            weights, given = jax.tree.unflatten(structure, leaves)
            place = {id(x): i for i, x in enumerate(leaves[:count])}
            arrays = self.network.stacked(weights)
            stacked[:] = [place[id(x)] for x in arrays if id(x) in place]
            return jax.tree.leaves(self.network.called(weights, *given))

        graph = graph_of(call, *leaves)
        return plan_of(graph, count, self.num_blocks, stacked, self.network.names)


def _shapes(given: Any) -> tuple[Any, ...]:
    return tuple(jax.numpy.shape(x) for x in jax.tree.leaves(given))


def _packed(flow: Any) -> Any:
    """One array as it is, several as a tuple."""
    return flow[0] if len(flow) == 1 else tuple(flow)


@naming_arguments({"model": "network", "params": "weights", "variables": "weights"})
def adapt(
    network: Any,
    weights: Any = None,
    *,
    blocks: Any,
    call: Callable[..., Any] | None = None,
    modulated: Any = None,
) -> tuple[Any, Adapted]:
    """..."""
    from flax import linen, nnx

    if isinstance(network, linen.Module):
        return weights, _linen(network, weights, blocks, call, modulated)
    if isinstance(network, nnx.Module):
        graph, weights = nnx.split(network)

        def merge(weights: Any) -> Any:
            return nnx.merge(graph, weights)

        return weights, _module(network, merge, blocks, call, modulated)
    if weights is not None:
        return weights, _function(network, weights, blocks, call)
    leaves, structure = jax.tree.flatten(network)
    arrays = [x if _is_array(x) else None for x in leaves]
    rest = [None if _is_array(x) else x for x in leaves]

    def merge(weights: Any) -> Any:
        given = iter(jax.tree.leaves(weights))
        each = [next(given) if _is_array(a) else r for a, r in zip(arrays, rest)]
        return jax.tree.unflatten(structure, each)

    weights = jax.tree.unflatten(structure, arrays)
    return weights, _module(network, merge, blocks, call, modulated)


def _is_array(x: Any) -> bool:
    import numpy as np

    return isinstance(x, jax.Array | np.ndarray)


def _as_called(network: Any, sample: Any, t: Any, condition: Any) -> Any:
    return network(sample, t, condition)


def _module(
    network: Any, merge: Any, blocks: Any, call: Any, modulated: Any
) -> Adapted:
    found = blocks(network)
    if is_listed(found):
        each = flat_blocks(found)
        names = tuple(f"block {i}" for i in range(len(each)))
        count = len(each)
    else:
        names, count = (), stacked_count(arrays_of(found))
        if count is None:
            raise ValueError(f"blocks= gave {brief(found)}")
    made = ModuleNetwork(merge, call or _as_called, blocks, modulated, names, count)
    return _adapted(made, modulated)


def _linen(
    network: Any, weights: Any, blocks: Any, call: Any, modulated: Any
) -> Adapted:
    if isinstance(blocks, str):
        paths = matched(weights["params"], blocks)
    else:
        paths = [tuple(b.path) for b in flat_blocks(blocks(network.bind(weights)))]
    names: tuple[str, ...] = tuple("/".join(path) for path in paths)
    count: int | None = len(paths)
    if len(paths) == 1:
        part: Any = weights["params"]
        for name in paths[0]:
            part = part[name]
        names, count = (), stacked_count(arrays_of(part))
    made = LinenNetwork(
        network, call or _as_called, tuple(paths), modulated, names, count
    )
    return _adapted(made, modulated)


def _function(network: Any, weights: Any, blocks: Any, call: Any) -> Adapted:
    (path,) = matched(weights, blocks)
    part = weights
    for name in path:
        part = part[name]
    count = stacked_count(arrays_of(part))
    return _adapted(FunctionNetwork(network, path, (), count), None)


def _adapted(network: Any, modulated: Any) -> Adapted:
    plain = Adapted(network, network.count)
    if modulated is None:
        return plain

    def look(weights: Any, hidden: Any, context: Any) -> jax.Array:
        plan, values = plain._known(weights, context)
        said = plan.looked_at(values, jax.tree.leaves(hidden))
        if said is None:
            raise ValueError("modulated= names a part of block 0 that is not called")
        return said

    return Adapted(network, network.count, look)
