"""Words for networks that do not come apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.errors import brief
from jax_stepcache.network.adapting.graph import Graph, holds, is_mark, is_scan
from jax_stepcache.network.called import a_module

_AS_IT_IS = (
    "step_cache and static serve any network as it is; StagedDenoiser takes stages "
    "that you write"
)


def check_pure(graph: Graph) -> None:
    """Checks that a network does nothing but compute.

    Raises:
        ValueError: if it does, naming what.
    """
    # Collectives inside a `shard_map` are told of as effects too.
    odd = [e for e in graph.jaxpr.effects if type(e).__name__ != "NamedAxisEffect"]
    if odd:
        raise ValueError(
            f"the network has side effects ({', '.join(sorted(map(str, odd)))}): "
            "prints, callbacks and references that are written to would happen at "
            f"other times than it means, or not at all. Take them out. {_AS_IT_IS}"
        )


def odd_sampler(what: str) -> str:
    """Words for a sampler whose loop is no plain Euler loop."""
    return (
        f"sampler= {what}; it must be a jax.lax.while_loop that carries the noise and "
        "a time that begins above 0, and adds a number times the velocity at each "
        "step. Give call=, one step's velocity, in its place"
    )


def no_blocks(graph: Graph, names: Sequence[str], stacked: bool) -> str:
    """Words for a network in which no block is found."""
    if holds(graph.jaxpr, is_mark):
        kinds = sorted({e.primitive.name for e in graph.eqns if holds([e], is_mark)})
        inside = sorted(
            {
                e.primitive.name
                for e in graph.eqns
                if holds(list(e.params.values()), is_mark)
            }
        )
        return (
            f"the blocks are called inside {', '.join(inside or kinds)}; they can be "
            f"skipped one by one only where the network calls them in a Python loop or "
            f"scans over their stacked weights. {_AS_IT_IS}"
        )
    if stacked:
        scans = sum(is_scan(e) for e in graph.eqns)
        return (
            f"blocks= names stacked weights, and none of the network's {scans} scans "
            "(jax.lax.scan, nnx.scan, nn.scan) goes over them with the sample in "
            f"hand. {_AS_IT_IS}"
        )
    return (
        f"the network does not call any of its {len(names)} blocks "
        f"({names[0]} ...) as block(...): calls of other methods are not seen. "
        f"{_AS_IT_IS}"
    )


def out_of_order(order: Sequence[int], names: Sequence[str]) -> str:
    """Words for blocks that are not called once each, in order."""
    missing = [i for i in range(len(names)) if i not in order]
    twice = sorted({i for i in order if order.count(i) > 1})
    if missing:
        what = f"does not call {_list(missing, names)} as block(...)"
    elif twice:
        what = f"calls {_list(twice, names)} more than once"
    else:
        what = f"calls its blocks in another order: {_list(order, names)}"
    return (
        f"the network {what}; blocks= must give those that it calls, once each, in the "
        f"order of the calls. {_AS_IT_IS}"
    )


def wrong_count(found: int, count: int) -> str:
    """Words for scans over more or less than all blocks."""
    return (
        f"blocks= gives {count} blocks, and the network goes through {found} of them: "
        "over stacked blocks it must scan once. What is computed before the sampling, "
        f"as keys and values of a prefix, goes into the condition. {_AS_IT_IS}"
    )


def reads_earlier(earlier: int, at: int, last: bool) -> str:
    """Words for what passes by a block."""
    reader = "what follows the blocks" if last else f"block {at + 1}"
    return (
        f"{reader} reads what block {earlier} returned, past block {at}: a skip "
        "connection. A cache that skips blocks reuses what they add to what enters "
        f"them, so nothing may pass by. {_AS_IT_IS}"
    )


def not_kept(piece: Any, k: int | None, wanted: Any = None) -> str:
    """Words for a block that returns another structure than it was given."""
    returned = [piece.result[i].aval.str_short() for i in piece.outs]
    given = [v.aval.str_short() for v in piece.given]
    of = returned if k is None else [piece.result[k].aval.str_short()]
    entered = f"given {given}" if wanted is None else f"what flows has shapes {wanted}"
    return (
        f"a block returns {', '.join(of)} for the next one; {entered}. What flows "
        "through blocks must keep its structure and shapes, or be joined once along "
        f"an axis (jnp.concatenate). {_AS_IT_IS}"
    )


def misfit(weights: Any, like: Any) -> str | None:
    """Words for weights of another network.

    Args:
        weights: what was given for them.
        like: structs of those that `adapt` returned.

    Returns:
        The words; None where names and shapes are those.
    """
    first = "the weights are {}; give those that adapt returned before the model"
    module = a_module(weights)
    if module is not None:
        return f"{module}: those that adapt returned before the model"
    given, wanted = (
        {jax.tree_util.keystr(k): jnp.shape(x) for k, x in _with_path(tree)}
        for tree in (weights, like)
    )
    if not given:
        return first.format(brief(weights))
    odd = [name for name in given if name not in wanted]
    lacks = [name for name in wanted if name not in given]
    if lacks or odd:
        many = f"{len(given)} arrays, {len(wanted)} are wanted"
        what = f"{odd[0]} is none of its" if odd else f"there is no {lacks[0]}"
        more = ""
        if set(wanted) == {f"['params']{name}" for name in given}:
            more = "; a Linen module's are its variables, {'params': ...}"
        return first.format(f"those of another network ({many}: {what}{more})")
    for name, shape in wanted.items():
        if given[name] != shape:
            what = f"{name} has shape {given[name]}, and the network's has {shape}"
            return first.format(f"those of another network: {what}")
    return None


def _with_path(tree: Any) -> list[Any]:
    return jax.tree_util.tree_leaves_with_path(tree)


def _list(which: Sequence[int], names: Sequence[str]) -> str:
    told = ", ".join(names[i] for i in which[:6])
    return told + (" ..." if len(which) > 6 else "")
