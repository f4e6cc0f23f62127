# The folder models/ is installed as jax_stepcache.models, where pyright does not look.
# pyright: reportMissingImports=false
"""The programs that are looked at: observing and sampling, of each model."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from jax_stepcache import Params, load_params
from jax_stepcache.checkpoints.layers import are_apart, taken_apart
from jax_stepcache.loop.spread import check_spread
from jax_stepcache.meshes.layout import layout_of
from jax_stepcache.models.dreamzero.control import programs as control
from jax_stepcache.models.dreamzero.control.placing import check_batch
from jax_stepcache.models.dreamzero.network.parameters import weight_shapes
from jax_stepcache.models.dreamzero.session.observation import (
    complete,
    observation_struct,
)
from jax_stepcache.models.dreamzero.session.placement import session_shardings
from jax_stepcache.models.dreamzero.session.session import observe, session_struct
from jax_stepcache.network.offered import in_layout, placed_by_name
from jax_stepcache.network.registry import load_model
from jax_stepcache.options import Options, resolve
from jax_stepcache.requests import at_once
from jax_stepcache.requests import compiled as slots
from jax_stepcache.requests.many import NO_LIMIT, Checked, check_many
from jax_stepcache.requests.together import put_together
from jax_stepcache.sampling import _run

from .asks import BUNDLED, ENCODERS, FILMS, MANY, Ask
from .device import on_a_device, placed, placed_as, whole
from .encoders import encoder
from .films import film
from .lowered import Lowered


def lowered(ask: Ask, mesh: Any) -> Lowered:
    """Makes a program's function and arguments; nothing is allocated.

    Args:
        ask: which.
        mesh: the devices. Weights and sessions lie where the library's own rules have
            them, as after `load_params(mesh=, rules=)` and a pipeline's `start`; what
            a user hands in is whole on every device.

    Returns:
        The program.

    Raises:
        ValueError: what the library says of a size that does not fit.
    """
    if ask.model in ENCODERS:
        return encoder(ask, mesh)
    if ask.model in FILMS:
        return film(ask, mesh)
    return (_bundled if ask.model in BUNDLED else _robot)(ask, mesh)


def _options(ask: Ask, **given: Any) -> dict[str, Any]:
    cache = None if ask.cache == "none" else ask.cache
    return {"cache": cache, "cache_config": _CONFIGS.get(ask.cache), **given}


# What a cache needs and has no default for; only the shape of the program hangs on it.
_CONFIGS: dict[str, Any] = {
    "tea_cache": {"coefficients": [0.0, 0.0, 0.0, 1.0, 0.0]},
    "mag_cache": {"mag_ratios": [1.0] * 16},
}


def _bundled(ask: Ask, mesh: Any) -> Lowered:
    params = load_params(ask.model, layers="stacked")
    params = _laid_out(params, ask, mesh)
    model: Any = params.model
    rows = 1 if ask.program in MANY else ask.rows
    shown = model.example(jax.random.key(0), rows)
    program = _PROGRAMS[ask.program]
    function, arguments = program(ask, mesh, params, {"observation": shown})
    return Lowered(
        function,
        arguments,
        model.num_blocks,
        ask.cache != "none",
        _of_one_layer(params.weights),
        frozenset(),
        None,
        {},
        ask.rows if ask.program in MANY else 1,
    )


def generation_of(ask: Ask, mesh: Any, **options: Any) -> Any:
    """A robot's generation, ready to sample: structs that are placed.

    Args:
        ask: the model, its attention and rules.
        mesh: the devices.
        **options: of `sample`.

    Returns:
        A `Generation` of one row.
    """
    params, session, shown = _begun(ask, mesh)
    given = _observed(mesh, params, session, shown)
    given = {**given, "noise": params.model.noise_struct(1), **options}
    generation = resolve(params, Options(**_options(ask, **given)))
    check_spread(generation)
    return whole(mesh, generation)


def _begun(ask: Ask, mesh: Any) -> tuple[Params, Any, Any]:
    """A robot's weights and session, where the rules have them, and what it sees."""
    model: Any = load_model(ask.model)
    dit = replace(model.dit, dtype="bfloat16", attention=ask.attention)
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, "bfloat16"), weight_shapes(dit)
    )
    params = _laid_out(Params(weights, replace(model, dit=dit)), ask, mesh)
    model = params.model
    rows = 1 if ask.program in MANY else ask.rows
    check_batch(model, rows)
    session = session_struct(model.size, rows, True, ask.layers == "apart")
    session = placed_as(session, session_shardings(session, model.layout or mesh))
    return params, session, _shown(model, rows)


def _observed(mesh: Any, params: Params, session: Any, shown: Any) -> dict[str, Any]:
    """The condition that observing leaves."""
    model: Any = params.model
    observed = jax.eval_shape(
        lambda *given: observe(model.size, *given), params.weights, session, shown
    )
    # The session that observing returns lies as it did.
    rest = placed(mesh, observed.condition)
    return {"condition": rest._replace(context=session.context, cache=session.cache)}


def _robot(ask: Ask, mesh: Any) -> Lowered:
    params, session, shown = _begun(ask, mesh)
    weights, model = params.weights, params.model
    rows, dit = 1 if ask.program in MANY else ask.rows, model.dit
    own = dit.num_frame_per_block * dit.frame_seqlen
    room = (dit.window - dit.num_frame_per_block) * dit.frame_seqlen
    observing = ask.program == "observe"
    if observing:
        key = jax.eval_shape(lambda: jax.random.key(0))
        given = placed(mesh, (shown, key))
        function, arguments = (
            control.observe_in_place,
            (model, model.layout, weights, session, *given),
        )
    else:
        own += dit.num_action_per_block + dit.num_state_per_block
        given = _observed(mesh, params, session, shown)
        given["noise"] = model.noise_struct(rows)
        program = _PROGRAMS[ask.program]
        function, arguments = program(ask, mesh, params, given)
    slotted = ask.program in MANY
    # Slots hold rows of their own beside those of the requests.
    places = (x.condition.cache for x in arguments if hasattr(x, "condition"))
    held = next(places) if slotted else session.cache
    cached = set(map(on_a_device, jax.tree.leaves((session.cache[:2], held[:2]))))
    if ask.layers == "stacked":  # What a scan over layers slices.
        cached |= {shape[1:] for shape in cached}
    return Lowered(
        function,
        arguments,
        dit.num_layers,
        not observing and ask.cache != "none",
        _of_one_layer(weights),
        frozenset(cached),
        (own, room + own),
        _seen(dit, observing),
        ask.rows if slotted else 1,
    )


def _seen(dit: Any, observing: bool) -> dict[int, float]:
    """A window begins with one frame; each block is observed, then more is sampled."""
    block = dit.num_frame_per_block
    slots = dit.window - block
    held = list(range(1, slots + 1, block))
    held = [0, *held[:-1]] if observing else held
    return {slots * dit.frame_seqlen: sum(held) / len(held) / slots}


def _laid_out(params: Params, ask: Ask, mesh: Any) -> Params:
    """Structs of weights where `place_params` puts them, and the model that knows."""
    model, weights = params.model, params.weights
    if ask.layers == "apart":
        # As structs: taking arrays apart copies them.
        structs = jax.eval_shape(lambda: weights["blocks"])
        weights = {**weights, "blocks": taken_apart(structs)}
    layout = layout_of(mesh, ask.rules)
    if layout is None:
        return Params(placed(mesh, weights), model)
    model = in_layout(model, layout)
    where = placed_by_name(model, layout).shardings(weights)
    return Params(placed_as(weights, where), model)


def _sample(
    ask: Ask, mesh: Any, params: Params, given: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """What `sample` compiles."""
    generation = resolve(params, Options(**_options(ask, decide=ask.decide, **given)))
    check_spread(generation)
    return _run, (ask.decide, whole(mesh, generation))


def _checked(ask: Ask, params: Params, given: dict[str, Any]) -> Checked:
    """As many requests as slots."""
    if "observation" in given:
        given = {**given, "noise": params.model.noise_struct(1)}
    return check_many(params, [given] * ask.rows, slots=ask.rows, **_options(ask))


def _slots(
    ask: Ask, mesh: Any, params: Params, given: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """What `sample_many` and `step_many` compile for as many requests as slots."""
    checked = _checked(ask, params, given)
    plan, weights = checked.admission.plan, checked.admission.weights
    axes = at_once.axes_of(plan, weights, checked.entries[0])
    structure, columns = at_once.columns_of(plan, checked.entries)
    together = at_once.brought_together.trace(axes, structure, whole(mesh, columns))
    where = together.lower().compile().output_shardings
    batch = placed_as(together.out_info, where)
    alike = at_once.are_alike(plan, checked.entries)
    count = placed(mesh, np.int32(ask.rows))
    return at_once.sampled_at_once, (plan, axes, alike, weights, batch, count)


def _queue(
    ask: Ask, mesh: Any, params: Params, given: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """What `serve` compiles, and `sample_many` where there are more requests."""
    checked = _checked(ask, params, given)
    plan, weights = checked.admission.plan, checked.admission.weights
    entries = checked.entries
    state = jax.eval_shape(
        functools.partial(slots.empty_state, plan, places=ask.rows), weights, entries[0]
    )
    # The places are made whole on every device; where requests are put into them, the
    # compiler says how they lie from then on.
    filling = slots.put.lower(
        placed(mesh, state),
        placed(mesh, np.int32(0)),
        whole(mesh, put_together(entries)),
    )
    state = placed_as(state, filling.compile().output_shardings)
    told = np.zeros(ask.rows, np.int32), np.int32(ask.rows)
    told = *told, np.zeros(ask.rows, bool), NO_LIMIT
    return slots.advance, (plan, weights, state, *placed(mesh, told))


_PROGRAMS = {"sample": _sample, "slots": _slots, "queue": _queue}


def _of_one_layer(weights: Any) -> frozenset[tuple[int, ...]]:
    """Shapes of the blocks' weights on a device, without an axis of layers."""
    shapes = map(on_a_device, jax.tree.leaves(weights["blocks"]))
    return frozenset(shapes if are_apart(weights) else (x[1:] for x in shapes))


def _shown(model: Any, rows: int) -> Any:
    """What robots are shown, each as it may be anywhere in its window."""
    arrays = {
        name: np.zeros(x.shape, x.dtype)
        for name, x in observation_struct(model.size, rows).items()
        if x is not None
    }
    return complete(model.size, np.zeros(rows, np.int32), arrays)
