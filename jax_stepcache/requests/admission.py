"""Checks requests, and makes entries of them that one compiled program can take."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.backends import get_cache_backend
from jax_stepcache.batching.settings import settings_of
from jax_stepcache.check import batch_size, check_count, dtype_of, fetched, structs_of
from jax_stepcache.errors import unknown_name
from jax_stepcache.loop.generation import Generation
from jax_stepcache.loop.spread import check_placed
from jax_stepcache.meshes.beside import context_mesh, moved_beside, sharding_beside
from jax_stepcache.meshes.explicit import automatic_context, with_automatic_axes
from jax_stepcache.network.beginning import draw_noise
from jax_stepcache.network.condition import condition_axes
from jax_stepcache.network.inputs import Inputs
from jax_stepcache.network.interval import check_interval
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.own_rows import own_axes
from jax_stepcache.network.rows import RowAxes
from jax_stepcache.options import ELSEWHERE, Options
from jax_stepcache.policy.span import Span
from jax_stepcache.requests.compiled import Plan
from jax_stepcache.requests.places import Entry
from jax_stepcache.requests.together import group_size, groups
from jax_stepcache.solvers import Bespoke
from jax_stepcache.solvers.base import calls_in
from jax_stepcache.solvers.stochastic import draws_noise, seeds_of

# What makes no sense for many requests: each decides, and is somewhere of its own.
_NOT_SHARED = ("decide", "progress", "differentiable")


@dataclass(frozen=True)
class Admission:
    """Lets requests in that fit one plan.

    Attributes:
        plan: the static part of the program.
        weights: the model's.
        axes: the rows of a user's condition; empty where the model prepares its own.
        shared: the first one's arrays in order, None where they have rows.
        beside: where the weights are, and the requests go.
        like: structs of an entry, which all others must have; None before the first.
    """

    plan: Plan
    weights: Any
    beside: jax.sharding.Sharding
    axes: RowAxes = ()
    shared: tuple[Any, ...] = ()
    like: Entry | None = None

    def entry(self, request: Generation) -> Entry:
        """Makes the entry of a request.

        Args:
            request: checked by `resolve_request`.

        Returns:
            The entry.

        Raises:
            ValueError: if it does not fit the plan, or the shapes of other requests.
        """
        (entry,) = self.drawn([request], [self.checked(request)])
        return entry

    def drawn(self, requests: list[Generation], entries: list[Entry]) -> list[Entry]:
        """Draws what has no noise yet, for many requests at once.

        Args:
            requests: those that the entries are of.
            entries: see `checked`.

        Returns:
            The entries, complete.
        """
        lack = [i for i, request in enumerate(requests) if request.noise is None]
        entries = list(entries)
        keys = [requests[i].key for i in lack]
        for start, some in groups(keys, group_size(len(keys))):
            drawn = _draw(self.plan.model, self._beside(some))
            for i, noise in zip(lack[start:], self._beside(drawn), strict=False):
                entries[i] = entries[i]._replace(sample=noise)
        return entries

    def checked(self, request: Generation) -> Entry:
        """As `entry`; but where noise is still to be drawn there are structs of it."""
        plan, program = self.plan, request.program
        with automatic_context():
            request.check_near()
        if any(isinstance(x, Tracer) for x in _arrays_of(request)):
            raise TypeError(
                "the host puts requests into slots, and this one is being traced; "
                'inside jax.jit there is sample(..., decide="sample") for a batch'
            )
        if program.guided and not plan.guided:
            raise ValueError(
                "a guidance scale other than 1 needs rows for both branches, and this "
                "stream was opened without: give serve an example that is guided"
            )
        if program.num_steps > plan.max_steps:
            what = "calls" if hasattr(plan.solver, "expanded") else "steps"
            raise ValueError(
                f"the request takes {program.num_steps} {what}; max_inference_steps is "
                f"{plan.max_steps}{'' if what == 'steps' else ' of these'}"
            )
        if (request.tables is None) == isinstance(plan.solver, Bespoke):
            raise ValueError(
                "some requests step by a table and others by a solver; in one stream "
                "all do the same. as_table makes a table of a solver and a schedule"
            )
        if getattr(request.policy, "span", None) != plan.span:
            given = getattr(request.policy, "span", None)
            raise ValueError(_another("span", given, plan.span))
        noise = request.noise
        if noise is None:
            noise = plan.model.noise_struct(1)
        rows = batch_size(noise, "noise")
        if rows != 1:
            raise ValueError(f"a request is a batch of one; its noise has {rows} rows")
        settings = settings_of(
            request.schedule,
            plan.solver,
            request.policy,
            request.scale.reshape(()),
            noise,
            plan.max_steps,
            _seeds(request),
        )
        entry = Entry(settings, self._inputs(request), noise, request.asked)
        entry = self._beside(entry)
        if self.like is not None:
            _check_alike(entry, self.like)
        return entry

    def with_example(self, entry: Entry) -> Admission:
        """Lets in only what has the shapes of an entry."""
        return replace(self, like=structs_of(entry))

    def _beside(self, arrays: Any) -> Any:
        return moved_beside(self.beside, with_automatic_axes(arrays))

    def _inputs(self, request: Generation) -> Inputs:
        inputs = request.inputs
        if inputs.observation is not None:
            rows = batch_size(inputs.observation, "observation")
            if rows != 1:
                raise ValueError(
                    f"a request is a batch of one; its observation has {rows} rows"
                )
            return inputs
        if not isinstance(request.program.model, FunctionModel):
            if self.like is None:
                self._check_prepared(inputs)
            return inputs
        condition = inputs.condition
        if not self.plan.guided:
            self._check_own(condition, "condition")
            return inputs
        # At a scale of 1 the other branch's rows are never looked at.
        leaves, structure = jax.tree.flatten(condition)
        others = inputs.negative or (None,) * len(leaves)
        negative = tuple(
            x if other is None else other
            for x, other in zip(leaves, others, strict=True)
        )
        self._check_own(condition, "condition")
        self._check_own(jax.tree.unflatten(structure, negative), "negative_condition")
        return inputs._replace(negative=negative)

    def _check_own(self, condition: Any, what: str) -> None:
        """Checks that arrays are of one request, or those that all requests share."""
        leaves = jax.tree_util.tree_leaves_with_path(condition)
        if len(leaves) != len(self.axes):
            return  # told with the structures
        for (path, x), axis, shared in zip(leaves, self.axes, self.shared, strict=True):
            name, given = what + jax.tree_util.keystr(path), np.shape(x)
            if axis is None and not _equal(x, shared):
                raise ValueError(
                    f"{name} of shape {given} has no axis of rows: all requests in "
                    "their slots read the same one, and this is another than the first "
                    "request's"
                )
            if axis is not None and given[axis : axis + 1] != (1,):
                raise ValueError(
                    f"{name} has shape {given}; a request is a batch of one, so its "
                    f"axis {axis}, that of rows, has a length of 1"
                )

    def _check_prepared(self, inputs: Inputs) -> None:
        """Checks that a condition the model has prepared has the rows of a request."""
        plan = self.plan
        axes = condition_axes(plan.model, self.weights, inputs, None, plan.guided)
        rows = 2 if plan.guided else 1
        for x, axis in zip(jax.tree.leaves(inputs.condition), axes, strict=True):
            given = np.shape(x)
            if axis is not None and given[axis : axis + 1] != (rows,):
                raise ValueError(
                    f"condition has an array of shape {given}; of a request it has "
                    f"{rows} rows, {'both branches' if rows > 1 else 'a batch of one'}"
                )


def admission_for(
    shared: Mapping[str, Any],
    requests: list[Generation],
    slots: int,
    max_steps: int | None,
) -> Admission:
    """Lets in requests that go with given ones.

    Args:
        shared: options that all share.
        requests: one or more; both branches run where one of them is guided, or those
            to come may be, by what is shared or the model's default.
        slots: how many run side by side.
        max_steps: steps that any may take; None for the most of these.

    Returns:
        The admission.

    Raises:
        ValueError: for counts that do not fit, or weights elsewhere than their layout.
    """
    longest = max(request.program.num_steps for request in requests)
    if max_steps is not None:
        check_count("max_inference_steps", max_steps, 1)
    first = requests[0]
    usual = shared.get("guidance_scale", first.program.model.defaults.guidance_scale)
    guided = [request.program.guided for request in requests]
    # A table's history is as long as the longest of them needs.
    history = Bespoke(max_steps or longest)
    solver = first.program.solver if first.tables is None else history
    plan = Plan(
        first.program.model,
        solver,
        any(guided) or not np.array_equal(usual, 1),
        getattr(first.policy, "span", None),
        slots,
        longest if max_steps is None else calls_in(solver, max_steps),
        check_interval(shared.get("guidance_interval")),
        first.program.parts,
    )
    check_placed(first)
    weights = with_automatic_axes(first.weights)
    with automatic_context():
        beside = sharding_beside(weights)
        if context_mesh() is not None:
            weights = moved_beside(beside, weights)
    model = first.program.model
    if not isinstance(model, FunctionModel):
        return Admission(plan, weights, beside)
    axes = own_axes(model, first.weights, first.inputs.condition, first.noise)
    leaves = jax.tree.leaves(first.inputs.condition)
    kept = tuple(
        x if axis is None else None for x, axis in zip(leaves, axes, strict=True)
    )
    return Admission(plan, weights, beside, axes, kept)


def check_shared(
    shared: Mapping[str, Any], others: Iterable[str] = ()
) -> dict[str, Any]:
    """Checks the names of options that requests share, and of the cache.

    Args:
        shared: the options.
        others: names of the caller's own, for the error.

    Returns:
        The options, without ``decide="sample"``, which is what requests do anyhow.

    Raises:
        TypeError: for a name that there is not, as Python does.
        ValueError: for an unknown cache, or a setting that there is not; or for
            requests that should decide together.
    """
    known = [one.name for one in fields(Options) if one.name not in _NOT_SHARED]
    if shared.get("differentiable"):
        raise ValueError(
            "differentiable: the host puts requests into slots, so their samples have "
            'no derivative; sample(..., differentiable=True, decide="sample") takes a '
            "batch"
        )
    if "decide" in shared:
        if shared["decide"] != "sample":
            raise ValueError(
                f"decide is {shared['decide']!r:.80}; requests decide each for itself, "
                "so it can be 'sample', or be left out"
            )
        shared = {name: x for name, x in shared.items() if name != "decide"}
    for name in shared:
        if name not in known:
            raise TypeError(unknown_name("option", name, [*known, *others], ELSEWHERE))
    cache, config = shared.get("cache"), shared.get("cache_config")
    if isinstance(cache, str) and isinstance(config, Mapping | None):
        get_cache_backend(cache, dict(config or {}))
    return dict(shared)


def _equal(x: Any, shared: Any) -> bool:
    if x is shared or any(isinstance(y, jax.ShapeDtypeStruct) for y in (x, shared)):
        return True
    if np.shape(x) != np.shape(shared):
        return False
    same = bool(fetched(np.all(x == shared)))
    if same or not jnp.issubdtype(dtype_of(x), jnp.inexact):
        return same
    # A table may be padded with NaN, which equals nothing.
    return np.array_equal(*fetched([x, shared]), equal_nan=True)


def _arrays_of(request: Generation) -> list[Any]:
    """Its arrays, but for the weights, which all requests share."""
    return jax.tree.leaves(replace(request, weights=None))


def _check_alike(entry: Entry, like: Entry) -> None:
    structure, wanted = jax.tree.structure(entry), jax.tree.structure(like)
    if structure != wanted:
        if jax.tree.structure(entry.settings.policy) != jax.tree.structure(
            like.settings.policy
        ):
            raise ValueError(_other_cache(entry.settings.policy, like.settings.policy))
        names, others = (
            {jax.tree_util.keystr(path)[1:] for path, _ in leaves}
            for leaves in map(jax.tree_util.tree_leaves_with_path, (entry, like))
        )
        raise ValueError(
            f"this request lacks {sorted(others - names)}, which the first one has, "
            f"and has {sorted(names - others)}, which that one lacks"
        )
    pairs = list(zip(jax.tree.leaves(entry), jax.tree.leaves(like), strict=True))
    if all(np.shape(x) == y.shape and dtype_of(x) == y.dtype for x, y in pairs):
        return
    given = jax.tree_util.tree_leaves_with_path(structs_of(entry))
    for (path, x), (_, y) in zip(given, pairs, strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            raise ValueError(
                f"the request's {jax.tree_util.keystr(path)[1:]} is {x.dtype}"
                f"{list(x.shape)}; other requests have {y.dtype}{list(y.shape)}, and "
                "they share one program: give all of them one shape and dtype"
            )


def _other_cache(policy: Any, like: Any) -> str:
    for part in ("signal", "gate", "forecast"):
        given, wanted = (getattr(x, part, None) for x in (policy, like))
        if jax.tree.structure(given) != jax.tree.structure(wanted):
            return _another(part, given, wanted)
    return _another("policy", policy, like)


def _another(part: str, given: Any, wanted: Any) -> str:
    names = [
        x if isinstance(x, Span | None) else str(jax.tree.map(lambda _: ..., x))
        for x in (given, wanted)
    ]
    return (
        f"the {part} of the request's cache has another structure than that of other "
        f"requests: {names[0]}, not {names[1]}. Thresholds, masks, steps and other "
        "numbers may differ; the parts of the cache are one program"
    ).replace("Ellipsis", "...")


def _seeds(request: Generation) -> Any:
    """Seeds of a batch of one; structs where there are structs in place of a key."""
    if not draws_noise(request.program.solver):
        return None
    if isinstance(request.key, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((1, 2), np.uint32)
    return _seeds_of_one(request.key)


@jax.jit
def _seeds_of_one(key: jax.Array) -> jax.Array:
    return seeds_of(key, 1)


@functools.partial(jax.jit, static_argnums=0)
def _draw(model: Any, keys: tuple[jax.Array, ...]) -> tuple[Any, ...]:
    # One by one: not every kind of key draws the same numbers under `jax.vmap`.
    return tuple(draw_noise(key, model.noise_struct(1)) for key in keys)
