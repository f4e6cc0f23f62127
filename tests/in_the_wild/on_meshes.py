"""What `test_rules` runs on eight devices, in a process of its own.

``python -m tests.in_the_wild.on_meshes "preset dit tensor"`` runs the cases of these
names and prints a line for each.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_stepcache import (
    Layout,
    Params,
    Server,
    StagedDenoiser,
    load_params,
    place_params,
    sample,
    sample_many,
    save_params,
    serve,
)
from jax_stepcache.models.dreamzero import DreamZeroPipeline

from ..models.dreamzero.robots import MODEL, PARAMS, observation, prompts
from ..models.wan import small as wan
from ..staged import SKIPPING, UNROLLED, WEIGHTS, conditions, noise
from .devices import main
from .on_devices import same

# A mesh for each preset that its rules do something with along every axis.
MESHES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "tensor": ((4, 2), ("data", "tensor")),
    "branches": ((2, 2, 2), ("branch", "data", "tensor")),
    "data": ((8,), ("data",)),
    "fsdp": ((8,), ("data",)),
}
ROWS = 8
# StepCache's tiers stand among the cosines of these samples.
TIERS = {"velocity_sim_thresholds": (0.9945, 0.93)}
CACHES: dict[str, Any] = {"step_cache": TIERS, **SKIPPING}


def mesh_of(name: str, devices: int = 8, explicit: bool = False) -> Mesh:
    """The mesh of a preset; of fewer devices, its last axis is shorter or gone."""
    shape, names = MESHES[name]
    kind = jax.sharding.AxisType.Explicit if explicit else jax.sharding.AxisType.Auto
    shape = (*shape[:-1], shape[-1] * devices // 8)
    found = np.asarray(jax.devices()[:devices]).reshape(shape)
    return Mesh(found, names, axis_types=(kind,) * len(names))


def preset(name: str, rules: str) -> None:
    """A bundled model follows a preset: the same sample, weights and rows cut."""
    params = load_params(name)
    shown = params.model.example(jax.random.key(0), ROWS)
    asked = {"observation": shown, "cache": "step_cache", "num_inference_steps": 4}
    wanted = sample(params, **asked)
    for explicit in (False, True):
        mesh = mesh_of(rules, explicit=explicit)
        found = sample(load_params(name, mesh=mesh, rules=rules), **asked)
        same(found.sample, wanted.sample)
        np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
        for x in jax.tree.leaves(found.sample):
            assert x.sharding.spec[0] == "data", x.sharding
    with jax.set_mesh(mesh):  # Noise that is drawn has nothing to say how it lies.
        found = sample(load_params(name, mesh=mesh, rules=rules), **asked)
    same(found.sample, wanted.sample)
    for x in jax.tree.leaves(found.sample):
        assert x.sharding.spec[0] == "data", x.sharding
        assert x.sharding.mesh.axis_types == mesh.axis_types


def robots(rules: str) -> None:
    """DreamZero's control steps by a preset, each session where the rules have it."""
    batch = 4

    def steps(pipe: DreamZeroPipeline) -> list[Any]:
        session, made = pipe.start(*prompts(batch)), []
        for i in range(2):
            shown = observation(batch, i)
            made.append(pipe(session, shown, num_inference_steps=4))
            session = made[-1].session
        return made

    wanted = steps(DreamZeroPipeline(PARAMS, cache_backend="step_cache"))
    mesh = mesh_of(rules, 4 if len(MESHES[rules][0]) == 1 else 8)
    pipe = DreamZeroPipeline(PARAMS, cache_backend="step_cache", mesh=mesh, rules=rules)
    for one, other in zip(steps(pipe), wanted, strict=True):
        same((one.video, one.action), (other.video, other.action))
        np.testing.assert_array_equal(one.stats.computed, other.stats.computed)
        heads = "tensor" if rules in ("tensor", "branches") else None
        rows = ("branch", "data") if rules == "branches" else "data"
        for x in jax.tree.leaves((one.session.cache.k, one.session.context.text.v)):
            spec = (*x.sharding.spec, None, None)
            assert spec[x.ndim - 4] == rows, spec
            assert (*spec, None)[x.ndim - 2] == heads, spec
    # Told before the session is given away.
    begun = pipe.start(*prompts(3))
    if rules != "branches":
        with pytest.raises(ValueError, match="the axis 'batch' of the session has 3"):
            pipe(begun, observation(3, 0))
        assert not begun.cache.length.is_deleted()


def separate_robots() -> None:
    """`step_many` with a session each: slots on a mesh, each robot as if alone."""
    alone = DreamZeroPipeline(PARAMS, cache_backend="step_cache")
    pipe = DreamZeroPipeline(
        PARAMS, cache_backend="step_cache", mesh=mesh_of("branches"), rules="branches"
    )

    def steps(pipe: DreamZeroPipeline) -> list[Any]:
        return pipe.step_many(
            [pipe.start(*prompts(1, i)) for i in range(3)],
            [observation(1, i) for i in range(3)],
            num_inference_steps=4,
        )

    for one, other in zip(steps(pipe), steps(alone), strict=True):
        same((one.video, one.action), (other.video, other.action))
        np.testing.assert_array_equal(one.stats.computed, other.stats.computed)


def films(rules: str) -> None:
    """Wan's two experts by a preset, with a cache inside them."""
    asked = {
        "observation": wan.text(4),
        "noise": wan.noise(4),
        "num_inference_steps": 4,
        "cache": "cache_dit",
        "cache_config": {"max_warmup_steps": 1, "residual_diff_threshold": 0.9},
    }
    wanted = sample(wan.params(wan.TWO), **asked)
    placed = place_params(wan.params(wan.TWO), mesh=mesh_of(rules), rules=rules)
    heads = placed.weights["low"]["blocks"]["self_attn"]["q"]["kernel"].sharding
    assert heads.spec[2] == "tensor", heads
    found = sample(placed, **asked)
    same(found.sample, wanted.sample)
    ran = np.asarray(found.stats.branches.computed)
    np.testing.assert_array_equal(ran, wanted.stats.branches.computed)
    assert not ran.all()


def apart() -> dict[str, Any]:
    """Rows so different from each other that each would decide otherwise alone."""
    positive, _ = conditions(ROWS)
    loud = jnp.linspace(0.05, 6.0, ROWS)[:, None, None]
    return {"noise": noise(ROWS) * loud, "condition": 3 * positive * loud[:, 0]}


def decisions(cache: str, decide: str) -> None:
    """A row a device: all decide as one, or each as if alone; never each device."""
    asked = {
        "model": UNROLLED,
        "num_inference_steps": 8,
        "solver": "euler",
        "cache": cache,
        "cache_config": CACHES[cache],
    }
    mesh, rows = mesh_of("data"), apart()
    alone = [
        sample(WEIGHTS, **jax.tree.map(lambda x, i=i: x[i : i + 1], rows), **asked)
        for i in range(ROWS)
    ]
    said = {tuple(np.asarray(one.stats.computed).tolist()) for one in alone}
    # TaylorSeer goes by the clock, MagCache by ratios that were measured before.
    assert len(said) > 1 or cache in ("taylor_seer", "mag_cache"), said
    there = jax.device_put(rows, NamedSharding(mesh, P("data")))
    wanted = sample(WEIGHTS, **rows, **asked, decide=decide)
    found = sample(WEIGHTS, **there, **asked, decide=decide)
    same(found.sample, wanted.sample)
    np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
    if decide == "sample":
        each = np.stack([np.asarray(one.stats.computed) for one in alone])
        np.testing.assert_array_equal(found.stats.computed, each)


def slots() -> None:
    """Requests through slots by each preset, and a server: each as if alone."""
    for rules in ("tensor", "branches", "data"):
        params = place_params(load_params("dit"), mesh=mesh_of(rules), rules=rules)
        asked = {"cache": "step_cache", "num_inference_steps": 4}
        requests = [
            {"observation": params.model.example(jax.random.key(i), 1)}
            for i in range(9)
        ]
        wanted = sample_many(load_params("dit"), requests, **asked)
        for one, other in zip(
            sample_many(params, requests, **asked), wanted, strict=True
        ):
            same(one.sample, other.sample)
            np.testing.assert_array_equal(one.stats.computed, other.stats.computed)
    with Server(serve(params, example=requests[0], slots=8, **asked)) as server:
        same(server.submit(requests[0]).result().sample, wanted[0].sample)


def own_model() -> None:
    """A network of one's own names its axes, and pins what it makes."""
    layout = Layout(mesh_of("tensor"), "tensor")

    def axes(name: str, x: Any) -> tuple[str | None, ...]:
        return {"in": (None, "heads"), "out": ("heads", None)}.get(
            name, (None,) * x.ndim
        )

    def network(layout: Layout | None) -> StagedDenoiser:
        def embed(weights: Any, x: Any, t: Any, condition: Any) -> Any:
            hidden, time = UNROLLED.embed(weights, x, t, condition)
            if layout is not None:
                hidden = layout.constrain(hidden, ("batch", None, "heads"))
            return hidden, time

        return StagedDenoiser(
            UNROLLED.num_blocks, embed, UNROLLED.blocks, UNROLLED.head
        )

    positive, _ = conditions(ROWS)
    asked = {"noise": noise(ROWS), "condition": positive, "cache": "step_cache"}
    wanted = sample(WEIGHTS, **asked, model=network(None))
    weights = layout.place(WEIGHTS, axes)
    assert weights["in"].sharding.spec == P(None, "tensor")
    same(sample(weights, **asked, model=network(layout)).sample, wanted.sample)


def saved(path: str) -> None:
    """A folder is read by rules as well, every device its part."""
    save_params(path, load_params("dit"))
    for rules in MESHES:
        mesh = mesh_of(rules)
        read = load_params(path, mesh=mesh, rules=rules)
        placed = place_params(load_params("dit"), mesh=mesh, rules=rules)
        jax.tree.map(np.testing.assert_array_equal, read.weights, placed.weights)
        for x, y in zip(*map(jax.tree.leaves, (read, placed)), strict=True):
            assert x.sharding.is_equivalent_to(y.sharding, x.ndim)


def refused() -> None:
    """Each error says which axis of what, and what to do, before compiling."""
    tensor = mesh_of("tensor")
    dit = load_params("dit")
    dreamzero = Params(PARAMS.weights, MODEL)
    elsewhere = place_params(dit, mesh=tensor, rules="tensor")
    elsewhere = Params(dit.weights, elsewhere.model)
    shown = dit.model.example(jax.random.key(0), 3)
    one = dit.model.example(jax.random.key(0), 1)

    def placing(mesh: Any, rules: Any, params: Any = dit) -> Any:
        return lambda: place_params(params, mesh=mesh, rules=rules)

    wide = Mesh(np.asarray(jax.devices()), ("tensor",))
    for call, said in {
        placing(tensor, "tensors"): "unknown rules 'tensors'",
        placing(tensor, {"heads": "tensor"}): "no rule names the mesh axis 'data'",
        placing(tensor, {"head": "tensor"}): "unknown logical axis in rules 'head'",
        placing(tensor, {"heads": "model"}): "unknown mesh axis 'model'",
        placing(tensor, "branches"): r"first axis, 'data', which has 4 devices",
        placing(wide, "tensor", dreamzero): (
            "the axis 'heads' of weight 'blocks.cross_attn.* has 2, which the 8 "
            "devices of mesh axis 'tensor' do not divide"
        ),
        placing(None, "tensor"): "rules= needs mesh=",
        lambda: DreamZeroPipeline(dreamzero, mesh=tensor): "mesh= needs rules=",
        lambda: sample(elsewhere, observation=shown): (
            "weight 'blocks.attn.* is not on the mesh"
        ),
        lambda: sample_many(elsewhere, [{"observation": one}]): (
            "weight 'blocks.attn.* is not on the mesh"
        ),
        lambda: sample(
            place_params(dit, mesh=tensor, rules="tensor"), observation=shown
        ): "the axis 'batch' of the observation has 3, which the 4 devices",
    }.items():
        with pytest.raises(ValueError, match=said):
            call()


# Presets that cut heads.
_WITH_HEADS = ("tensor", "branches")

CASES: dict[str, Any] = {
    **{f"robots {rules}": functools.partial(robots, rules) for rules in MESHES},
    **{f"films {rules}": functools.partial(films, rules) for rules in _WITH_HEADS},
    **{
        f"preset {name} {rules}": functools.partial(preset, name, rules)
        for name in ("dit", "tabletop")
        for rules in MESHES
        if name == "dit" or rules in ("data", "fsdp")
    },
    **{
        f"decisions {cache} {decide}": functools.partial(decisions, cache, decide)
        for cache in CACHES
        for decide in ("batch", "sample")
    },
    "separate robots": separate_robots,
    "slots": slots,
    "own model": own_model,
    "refused": refused,
}


if __name__ == "__main__":
    for _name in [name for name in sys.argv[1:] if name.startswith("saved ")]:
        CASES[_name] = functools.partial(saved, _name.removeprefix("saved "))
    main(CASES)
