# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
"""The programs that are looked at: observing and sampling, of each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec
from jax.tree_util import DictKey

from jax_stepcache import Params, load_params
from jax_stepcache.checkpoints.layers import taken_apart
from jax_stepcache.checkpoints.placement import placement
from jax_stepcache.models.dreamzero.control import programs as control
from jax_stepcache.models.dreamzero.network.parameters import weight_shapes
from jax_stepcache.models.dreamzero.session.observation import (
    complete,
    observation_struct,
)
from jax_stepcache.models.dreamzero.session.placement import session_shardings
from jax_stepcache.models.dreamzero.session.session import observe, session_struct
from jax_stepcache.network.registry import load_model
from jax_stepcache.options import Options, resolve
from jax_stepcache.sampling import _run

from .device import placed

BUNDLED, ROBOTS = ("tabletop", "dit"), ("wan22-5b", "droid-14b")


class Ask(NamedTuple):
    """What to compile.

    Attributes:
        model: one of `BUNDLED` and `ROBOTS`.
        program: ``"sample"`` or, of robots, ``"observe"``.
        cache: a cache's name, or ``"none"``.
        decide: ``"batch"`` or ``"sample"``.
        attention: of robots: ``"cudnn"`` or ``"xla"``.
        layers: ``"apart"`` or ``"stacked"``.
        rows: samples, or robots.
    """

    model: str
    program: str = "sample"
    cache: str = "step_cache"
    decide: str = "batch"
    attention: str = "cudnn"
    layers: str = "apart"
    rows: int = 1


class Lowered(NamedTuple):
    """A jitted function and its arguments, and what of these is worth a name.

    Attributes:
        function: the function.
        arguments: structs, with shardings.
        depth: blocks of the network.
        is_gated: whether the network stands behind the gate.
        stacked: shapes of the blocks' weights, without a layer axis.
        cached: shapes of the KV cache's arrays.
        scores: queries and keys of a self-attention over all there is to see; None if
            that is not told.
        seen: see `kernels`: of the cached keys, the mean share that is seen from the
            places of a window; empty without a cache.
    """

    function: Any
    arguments: tuple[Any, ...]
    depth: int
    is_gated: bool
    stacked: frozenset[tuple[int, ...]]
    cached: frozenset[tuple[int, ...]]
    scores: tuple[int, int] | None
    seen: Mapping[int, float]


def lowered(ask: Ask, mesh: Any) -> Lowered:
    """Makes a program's function and arguments; nothing is allocated.

    Args:
        ask: which.
        mesh: the devices. On several, weights and sessions lie as `load_params` and
            `DreamZeroPipeline` lay them out, and rows of a bundled model are spread.

    Returns:
        The program.
    """
    return (_bundled if ask.model in BUNDLED else _robot)(ask, mesh)


def _options(ask: Ask, **given: Any) -> Options:
    cache = None if ask.cache == "none" else ask.cache
    return Options(cache=cache, cache_config=_CONFIGS.get(ask.cache), **given)


# What a cache needs and has no default for; only the shape of the program hangs on it.
_CONFIGS: dict[str, Any] = {
    "tea_cache": {"coefficients": [0.0, 0.0, 0.0, 1.0, 0.0]},
    "mag_cache": {"mag_ratios": [1.0] * 16},
}


def _bundled(ask: Ask, mesh: Any) -> Lowered:
    params = load_params(ask.model, layers=ask.layers)
    model: Any = params.model
    shown = model.example(jax.random.key(0), ask.rows)
    given = resolve(params, _options(ask, observation=shown, decide=ask.decide))
    blocks = load_params(ask.model, layers="stacked").weights["blocks"]

    def rows(path: Any, x: Any) -> PartitionSpec:
        names = {getattr(key, "name", None) for key in path}
        spread = names & {"noise", "inputs"} and x.ndim and x.shape[0] == ask.rows
        return PartitionSpec(*mesh.axis_names) if spread else PartitionSpec()

    return Lowered(
        _run,
        (ask.decide, placed(mesh, given, rows)),
        model.num_blocks,
        ask.cache != "none",
        frozenset(x.shape[1:] for x in jax.tree.leaves(blocks)),
        frozenset(),
        None,
        {},
    )


def _robot(ask: Ask, mesh: Any) -> Lowered:
    model: Any = load_model(ask.model)
    dit = replace(model.dit, dtype="bfloat16", attention=ask.attention)
    model = replace(model, dit=dit)
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), weight_shapes(dit)
    )
    stacked = frozenset(x.shape[1:] for x in jax.tree.leaves(weights["blocks"]))
    apart = ask.layers == "apart"
    if apart:
        weights = {**weights, "blocks": taken_apart(weights["blocks"])}
    session = session_struct(model.size, ask.rows, True, apart)
    shown = _shown(model, ask.rows)
    spec = _as_laid_out(mesh, weights, session)
    own = dit.num_frame_per_block * dit.frame_seqlen
    room = (dit.window - dit.num_frame_per_block) * dit.frame_seqlen
    cached = frozenset(x.shape for x in jax.tree.leaves(session.cache[:2]))
    if ask.program == "observe":
        key = jax.eval_shape(lambda: jax.random.key(0))
        given = weights, session, shown, key
        several = mesh if mesh.size > 1 else None
        return Lowered(
            control.observe_in_place,
            (model, several, *(placed(mesh, x, spec) for x in given)),
            dit.num_layers,
            False,
            stacked,
            cached,
            (own, room + own),
            _seen(dit, observing=True),
        )
    observed = jax.eval_shape(
        lambda *given: observe(model.size, *given), weights, session, shown
    )
    noise = model.noise_struct(ask.rows)
    options = _options(ask, condition=observed.condition, noise=noise)
    own += dit.num_action_per_block + dit.num_state_per_block
    return Lowered(
        _run,
        (ask.decide, placed(mesh, resolve(Params(weights, model), options), spec)),
        dit.num_layers,
        ask.cache != "none",
        stacked,
        cached,
        (own, room + own),
        _seen(dit, observing=False),
    )


def _seen(dit: Any, observing: bool) -> dict[int, float]:
    """A window begins with one frame; each block is observed, then more is sampled."""
    block = dit.num_frame_per_block
    slots = dit.window - block
    held = list(range(1, slots + 1, block))
    held = [0, *held[:-1]] if observing else held
    return {slots * dit.frame_seqlen: sum(held) / len(held) / slots}


def _as_laid_out(mesh: Any, weights: Any, session: Any) -> Any:
    """Where weights lie, and what a session holds, by the ends of their paths."""
    wanted = {}
    for path, x in jax.tree_util.tree_leaves_with_path(weights):
        stacked = path[0].key == "blocks" and isinstance(path[-1], DictKey)
        where = placement(mesh, x.shape, stacked=stacked)
        wanted[_end(path)] = where.spec if where else PartitionSpec()
    shardings = session_shardings(session, mesh)
    for path, where in jax.tree_util.tree_leaves_with_path(shardings):
        wanted[_end(path)] = where.spec

    def spec(path: Any, x: Any) -> PartitionSpec:
        found = wanted.get(_end(path), PartitionSpec())
        return found if len(found) <= x.ndim else PartitionSpec()

    return spec


def _end(path: Any) -> str:
    return jax.tree_util.keystr(path[-3:], simple=True, separator=".")


def _shown(model: Any, rows: int) -> Any:
    """What robots are shown, each as it may be anywhere in its window."""
    arrays = {
        name: np.zeros(x.shape, x.dtype)
        for name, x in observation_struct(model.size, rows).items()
        if x is not None
    }
    return complete(model.size, np.zeros(rows, np.int32), arrays)
