"""How much arithmetic a forward takes, and what of it a cache leaves to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_stepcache.check import fetched
from jax_stepcache.loop.attending import WithinAttentions
from jax_stepcache.loop.by_block import ByBlock
from jax_stepcache.loop.forward import Whole, Within
from jax_stepcache.loop.generation import Generation, begin
from jax_stepcache.loop.lists import WithinLists
from jax_stepcache.loop.program import forward_of
from jax_stepcache.loop.result import Stats
from jax_stepcache.network.params import check_params
from jax_stepcache.options import options_of, resolve


class ForwardFlops(NamedTuple):
    """Floating-point operations of one step's matrix products, all branches and rows.

    A product and a sum count two. Everything else is small beside them.

    Attributes:
        every: what is done at every step, computed or not: of a cache around the whole
            forward nothing, of one inside the network all but the span.
        span: what is done where the span runs, or all of its blocks that may be
            skipped.
        apart: whether it is done for each guidance branch by itself, where that runs.
    """

    every: int
    span: int
    apart: bool = False

    def of(self, stats: Stats) -> int:
        """Operations of a whole run."""
        every = len(stats.computed) * self.every
        if stats.blocks is not None:
            # A block runs on the rows of all branches where any wants it.
            *_, blocks = np.shape(stats.blocks.computed)
            ran = np.asarray(fetched(stats.blocks.computed)).any(axis=1)
            return every + int(ran.sum()) * self.span // blocks
        if self.apart and stats.branches is not None:
            ran = np.asarray(fetched(stats.branches.computed))
            return every + int(ran.sum()) * self.span // ran.shape[1]
        return every + int(stats.model_calls) * self.span


def forward_flops(params: Any, **options: Any) -> ForwardFlops:
    """Counts the matrix products of a step, by tracing; nothing is compiled or run.

    Args:
        params: see `sample`.
        **options: likewise; ``cache`` says what is skipped.

    Returns:
        The counts.

    Raises:
        ValueError: see `sample`.
        TypeError: likewise.
    """
    check_params(params, options.get("model"))
    generation = resolve(params, options_of(**options))

    def counted(generation: Generation) -> tuple[int, int, bool]:
        condition, x = begin(generation)
        rows = jax.tree.leaves(x)[0].shape[0]
        forward = forward_of(generation, condition, rows)
        step = jax.numpy.zeros((), jax.numpy.int32)
        if isinstance(forward, WithinLists | WithinAttentions):
            raise ValueError(
                "what a cache saves is counted where a step runs its span or does not; "
                "one for each list of blocks, or around attentions alone, is measured "
                "by the clock"
            )
        if not isinstance(forward, Within):
            apart = isinstance(forward, Whole)
            network = forward.network if isinstance(forward, Whole) else forward
            return 0, matmul_flops(network, x, step), apart
        first, end = forward.span.first, forward.end
        inner = range(first, end)
        gated = forward.gated if isinstance(forward, ByBlock) else tuple(inner)
        hidden, context = forward.embed(x, step)

        def outside(x: Any) -> Any:
            hidden, context = forward.embed(x, step)
            hidden = forward.blocks(hidden, context, 0, first) if first else hidden
            for block in inner:
                if block not in gated:
                    hidden = forward.blocks(hidden, context, block, block + 1)
            if forward.span.last:
                hidden = forward.blocks(hidden, context, end, forward.num_blocks)
            return forward.head(hidden, context, step)

        def inside(hidden: Any) -> Any:
            if gated == tuple(inner):
                return forward.blocks(hidden, context, first, end)
            for block in gated:
                hidden = forward.blocks(hidden, context, block, block + 1)
            return hidden

        apart = forward.axes is not None
        return matmul_flops(outside, x), matmul_flops(inside, hidden), apart

    found: list[tuple[int, int, bool]] = []
    jax.eval_shape(lambda traced: found.append(counted(traced)), generation)
    return ForwardFlops(*found[0])


def matmul_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Counts a function's matrix products, loops of known length included.

    Args:
        function: what to trace.
        *arguments: arrays, tracers or `jax.ShapeDtypeStruct`.

    Returns:
        Operations, a product and a sum counting two; of a branch, those of the larger
        side; of a loop of unknown length, one turn.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, settings = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = settings["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[i] for i in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            layout = settings["dimension_numbers"].rhs_spec
            inner = math.prod(kernel) // kernel[layout[0]]
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        elif name == "scan":
            total += settings["length"] * _count(settings["jaxpr"].jaxpr)
        elif name == "cond":
            total += max(_count(branch.jaxpr) for branch in settings["branches"])
        else:
            total += sum(_count(inner) for inner in _inner(settings))
    return total


def _inner(settings: dict[str, Any]) -> list[Any]:
    """The programs that an operation calls."""
    found = [getattr(value, "jaxpr", value) for value in settings.values()]
    return [jaxpr for jaxpr in found if hasattr(jaxpr, "eqns")]
