"""`adapt`: anybody's network, taken apart for caches that look inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from jax_stepcache.errors import naming_arguments
from jax_stepcache.network.adapting.functions import FunctionNetwork, function_network
from jax_stepcache.network.adapting.graph import graph_of
from jax_stepcache.network.adapting.kinds import Network
from jax_stepcache.network.adapting.linen import linen_network
from jax_stepcache.network.adapting.modules import module_network
from jax_stepcache.network.adapting.plan import Plan, plan_of
from jax_stepcache.network.adapting.problems import check_pure
from jax_stepcache.network.adapting.sampler import Before, SamplerNetwork
from jax_stepcache.network.called import check_takes
from jax_stepcache.nodes import register_dataclass


@register_dataclass
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
        needs_schedule: whether ``call`` is a flow of `as_flow` with times of its own.
    """

    network: Network
    num_blocks: int
    modulated: Callable[[Any, Any, Any], jax.Array] | None = None
    needs_schedule: bool = False

    def __copy__(self) -> Adapted:
        """Itself: it does not change, and another object is another program."""
        return self

    def __deepcopy__(self, memo: Any) -> Adapted:
        """Likewise."""
        return self

    def __reduce__(self) -> Any:
        """A file would hold the functions that `adapt` was given.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "a model that adapt made holds the functions it was given, which no file "
            "keeps; keep the weights, and call adapt again where they are read"
        )

    @property
    def lacking(self) -> Mapping[str, str]:
        """See `check_stages`: what to give for what caches look at."""
        if isinstance(self.network, FunctionNetwork):
            how = (
                "Parts of a function are not seen from outside: StagedDenoiser(..., "
                "modulated=) takes what tea_cache looks at"
            )
        else:
            how = (
                "adapt(network, blocks=, modulated=) takes the part of a block that "
                "tea_cache looks at the input of, such as modulated=lambda block: "
                "block.attn; of a Linen module its name"
            )
        return {"modulated": how}

    def __call__(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The whole network, as it is."""
        return self.network.called(weights, sample, t, condition, marked=False)

    def condition(self, weights: Any, noise: Any, seen: Any) -> Before:
        """What ``sampler`` computes before its loop: the condition for `sample`.

        Args:
            weights: of the network.
            noise: float[rows, ...], for its shape.
            seen: what the sampler is shown besides, a pytree of arrays.

        Returns:
            The condition, of as many rows.

        Raises:
            TypeError: of a network that was adapted without ``sampler=``.
            ValueError: if its sampler does not come apart.
        """
        if not isinstance(self.network, SamplerNetwork):
            raise TypeError(
                "condition= of a network that was adapted with call= is what call "
                "reads; only with sampler= is it made here"
            )
        return self.network.before(weights, noise, seen)

    def embed(
        self, weights: Any, sample: Any, t: Any, condition: Any
    ) -> tuple[Any, Context]:
        """See `Stages.embed`."""
        given = (sample, t, condition)
        plan = self._plan(weights, given)
        hidden, residuals = plan.embed(_inputs(plan, weights, given))
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
        return jax.tree.unflatten(plan.said, said)

    def _look(self, weights: Any, hidden: Any, context: Context) -> jax.Array:
        """What block 0 hands to the part that `adapt` was told of."""
        plan, values = self._known(weights, context)
        said = plan.looked_at(values, jax.tree.leaves(hidden))
        if said is None:
            raise ValueError(
                "modulated= names a part of block 0 that the block does not call as "
                "part(...); it must be the one, such as its attention, that is given "
                "the modulated input first"
            )
        return said

    def _known(self, weights: Any, context: Context) -> tuple[Plan, dict[Any, Any]]:
        """The plan for what was given, and the values that stages begin with."""
        plan = context.plan
        if _shapes(context.given) != context.shapes:
            # Some of the rows: slots of which not all compute.
            plan = self._plan(weights, context.given)
        values = _inputs(plan, weights, context.given)
        kinds = [(v.aval.shape, v.aval.dtype) for v in plan.residuals]
        if kinds == [(x.shape, x.dtype) for x in context.residuals]:
            values.update(zip(plan.residuals, context.residuals, strict=True))
        return plan, values

    def _plan(self, weights: Any, given: Any) -> Plan:
        leaves, structure = jax.tree.flatten((weights, given))
        count = len(jax.tree.leaves(weights))
        told: dict[str, Any] = {}

        def call(*leaves: Any) -> Any:
            weights, given = jax.tree.unflatten(structure, leaves)
            place = {id(x): i for i, x in enumerate(leaves[:count])}
            arrays = self.network.stacked(weights)
            told["stacked"] = [place[id(x)] for x in arrays if id(x) in place]
            said, told["said"] = jax.tree.flatten(self.network.called(weights, *given))
            return said

        graph = graph_of(call, *leaves)
        check_pure(graph)
        plan = plan_of(
            graph, count, self.num_blocks, told["stacked"], self.network.names
        )
        return replace(plan, said=told["said"])


def _inputs(plan: Plan, weights: Any, given: Any) -> dict[Any, Any]:
    return dict(zip(plan.inputs, jax.tree.leaves((weights, given)), strict=True))


def _shapes(given: Any) -> tuple[Any, ...]:
    return tuple(jax.numpy.shape(x) for x in jax.tree.leaves(given))


def _packed(flow: Any) -> Any:
    """One array as it is, several as a tuple."""
    return flow[0] if len(flow) == 1 else tuple(flow)


@naming_arguments(
    {"model": "network", "module": "network", "params": "weights", "apply": "call"}
)
def adapt(
    network: Any,
    weights: Any = None,
    *,
    blocks: Any,
    call: Callable[[Any, Any, Any, Any], Any] | None = None,
    sampler: Callable[[Any, Any, Any], Any] | None = None,
    modulated: Any = None,
) -> tuple[Any, Adapted]:
    """Takes somebody's network apart, for caches that look inside.

    Its stages are found by tracing it with its blocks marked: what is computed before
    them, in each of them and behind them. Nothing is computed that the network does not
    compute itself, and nothing twice; the network stays as it is.

    Args:
        network: a Flax NNX module; a Flax Linen module; a module of another kind that
            is a pytree and is called, as Equinox's are; or a function ``(weights,
            sample, t, condition) -> velocity`` that scans over stacked weights.
        weights: Linen's variables, ``{"params": ...}``, or the function's weights.
            Modules of the other kinds hold their own.
        blocks: of a module, a function from it to its blocks: a list of modules, or
            several lists, for instance of double and of single streams, in the order in
            which they are called; or one module with stacked weights, over which it
            scans, or several in a dict, ``{"double": ..., "single": ...}``. Of Linen
            modules also names in ``params``, or a list of them: ``"block_*"`` for
            blocks that are called one by one, and ``"layers"`` without an asterisk for
            stacked ones. Of functions the name of the stacked weights, such as
            ``"blocks"``.
        call: ``(network, sample, t, condition) -> velocity``, how the network is to be
            called; ``network(sample, t, condition)`` unless given. A flow of `as_flow`
            is such a function, for a network that says something else.
        sampler: in place of ``call``, for a network that keeps its Euler loop to
            itself: ``(network, noise, seen) -> sample``. The body of its
            `jax.lax.while_loop` is the network. What it computes before, `sample`'s
            ``condition``, is made by ``model.condition(weights, noise, seen)``. The
            network is told of time in the loop's own units.
        modulated: for TeaCache the part of a block that is given the modulated input
            first, as a rule its attention: a function from a block to it, or its name
            in a Linen block.

    Returns:
        The weights, and the model: what `sample` takes as its first argument, and as
        ``model``. Make it once; another one is another program.

    Raises:
        TypeError: for something else than a network, or than blocks.
        ValueError: if there are no blocks of that name, or if stacked weights disagree
            about their number. While it is traced: if blocks are not called once each,
            in order; if something passes by them, or they return another structure than
            they are given; or if the network has side effects.
    """
    from flax import linen

    if sampler is not None and call is not None:
        raise TypeError("call= and sampler= are two ways to say the same; give one")
    for name, given in (("call", call), ("sampler", sampler)):
        reads = ("noise", "seen") if name == "sampler" else ("sample", "t", "condition")
        if given is not None:
            check_takes(name, given, ("network", *reads))
    needs_schedule = getattr(call, "needs_schedule", False)
    call = _as_function(call)
    if sampler is not None:
        whole = sampler
        call = lambda n, noise, t, seen: whole(n, noise, seen)  # noqa: E731
    if isinstance(network, type):
        raise TypeError(f"network is {network!r}, a class; give an object of it")
    if not callable(network) and (call is None or not _is_module(network)):
        raise TypeError(
            f"network is a {type(network).__name__}; give a module, or a function "
            "(weights, sample, t, condition) -> velocity with its weights"
        )
    if isinstance(network, linen.Module):
        made = linen_network(network, weights, blocks, call, modulated)
    elif _is_module(network):
        if weights is not None:
            raise TypeError(
                f"{type(network).__name__} holds its weights itself; leave out weights="
            )
        weights, made = module_network(network, blocks, call, modulated)
    else:
        made = function_network(network, weights, blocks, call, modulated)
    if sampler is not None:
        made = SamplerNetwork(made)
    plain = Adapted(made, made.count, needs_schedule=needs_schedule)
    if modulated is None:
        return weights, plain
    return weights, replace(plain, modulated=plain._look)


def _as_function(call: Any) -> Any:
    """Flax asks what it calls for its name, which objects that can be called lack."""
    return call if call is None or inspect.isroutine(call) else call.__call__


def _is_module(network: Any) -> bool:
    from flax import nnx

    pytree = not jax.tree_util.all_leaves([network])
    return isinstance(network, nnx.Module) or pytree
