"""What `test_meshes` runs on four devices, in a process of its own.

``python -m tests.in_the_wild.on_devices elsewhere tabletop`` runs the cases of these
names and prints a line for each.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_stepcache import (
    Params,
    Server,
    StagedDenoiser,
    calibrate,
    load_params,
    sample,
    sample_many,
    save_params,
    serve,
)

from ..staged import SKIPPING, UNROLLED, WEIGHTS, conditions, noise
from .devices import main

ROWS = 4
CACHES: dict[str | None, Any] = {None: None, "step_cache": None, **SKIPPING}
KINDS = {"explicit": AxisType.Explicit, "auto": AxisType.Auto}


def mesh_of(kind: str, shape: tuple[int, ...] = (4,)) -> jax.sharding.Mesh:
    """All devices, with axes ``data`` and ``model``."""
    names = ("data", "model")[: len(shape)]
    return jax.make_mesh(shape, names, axis_types=(KINDS[kind],) * len(shape))


def spread(mesh: jax.sharding.Mesh, tree: Any, *spec: str | None) -> Any:
    return jax.device_put(tree, NamedSharding(mesh, P(*spec)))


def given(guided: bool, rows: Any = slice(None)) -> dict[str, Any]:
    """Noise and conditions."""
    positive, negative = conditions(ROWS)
    arrays = {"noise": noise(ROWS)[rows], "condition": positive[rows]}
    return arrays | ({"negative_condition": negative[rows]} if guided else {})


def options(cache: str | None, guided: bool, **more: Any) -> dict[str, Any]:
    scale = {"guidance_scale": 2.0} if guided else {}
    shared = {"model": UNROLLED, "num_inference_steps": 8, "solver": "euler"}
    return {**shared, **scale, "cache": cache, "cache_config": CACHES[cache], **more}


def same(one: Any, other: Any) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), one, other)


def on_mesh(kind: str, cache: str | None, guided: bool, decide: str) -> None:
    """Batch and weights spread; the decisions and the sample are one device's."""
    asked = options(cache, guided, decide=decide)
    wanted = sample(WEIGHTS, **given(guided), **asked)
    mesh = mesh_of(kind, (2, 2))
    weights = dict(WEIGHTS, out=spread(mesh, WEIGHTS["out"], "model"))
    weights["in"] = spread(mesh, WEIGHTS["in"], None, "model")
    rows = spread(mesh, given(guided), "data")
    for run in (sample, jax.jit(functools.partial(sample, **asked))):
        more = asked if run is sample else {}
        found = run(weights, **rows, **more)
        same(found.sample, wanted.sample)
        np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
        assert found.sample.sharding.spec[0] == "data", found.sample.sharding


def in_shard_map(kind: str, cache: str | None, guided: bool, decide: str) -> None:
    """Each device samples its rows as if it were alone; types are checked."""
    asked = options(cache, guided, decide=decide)
    mesh = mesh_of(kind, (2, 2))

    def run(rows: Any) -> Any:
        return sample(WEIGHTS, **rows, **asked).sample

    rows = spread(mesh, given(guided), "data")
    apart = jax.shard_map(run, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    wanted = [run(given(guided, slice(i, i + 2))) for i in (0, 2)]
    same(jax.jit(apart)(rows), jnp.concatenate(wanted))


def bundled_in_shard_map(name: str) -> None:
    """Scans over a bundled model's blocks have carries of one type there, too."""
    params, mesh = load_params(name), mesh_of("auto", (2, 2))
    asked = {"cache": "step_cache", "num_inference_steps": 3}

    def run(shown: Any) -> Any:
        return sample(params, observation=shown, **asked).sample

    shown = params.model.example(jax.random.key(0), ROWS)
    apart = jax.shard_map(run, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    halves = [jax.tree.map(lambda x, i=i: x[i : i + 2], shown) for i in (0, 2)]
    wanted = jax.tree.map(lambda *x: jnp.concatenate(x), *map(run, halves))
    same(jax.jit(apart)(spread(mesh, shown, "data")), wanted)


def tensor_parallel() -> None:
    """The network sums over devices: what comes of it is known to be alike on them."""
    mesh = mesh_of("auto", (2, 2))
    x, weights = noise(ROWS)[..., :2], WEIGHTS["in"][:2, :2]

    def parts(weights: Any, x: Any, t: Any, condition: Any) -> Any:
        mine = jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index("model"), 1, 2)
        return jnp.tanh(jax.lax.psum(mine @ weights, "model") + t[:, None, None] / 1000)

    def whole(weights: Any, x: Any, t: Any, condition: Any) -> Any:
        return jnp.tanh(x @ weights + t[:, None, None] / 1000)

    def run(model: Any, weights: Any, x: Any) -> Any:
        shared = {"cache": "step_cache", "num_inference_steps": 6}
        return sample(weights, model=model, noise=x, **shared).sample

    apart = jax.shard_map(
        functools.partial(run, parts),
        mesh=mesh,
        in_specs=(P("model"), P("data")),
        out_specs=P("data"),
    )
    wanted = [run(whole, weights, x[i : i + 2]) for i in (0, 2)]
    same(jax.jit(apart)(weights, x), jnp.concatenate(wanted))


def partly_manual() -> None:
    """`shard_map` over one axis, the other left explicit; and without its checks."""
    asked = options("cache_dit", True)

    def run(rows: Any) -> Any:
        return sample(WEIGHTS, **rows, **asked).sample

    wanted = jnp.concatenate([run(given(True, slice(i, i + 2))) for i in (0, 2)])
    for kind, more in (
        ("explicit", {"axis_names": {"data"}}),
        ("auto", {"check_vma": False}),
    ):
        mesh = mesh_of(kind, (2, 2))
        apart = jax.shard_map(
            run, mesh=mesh, in_specs=P("data"), out_specs=P("data"), **more
        )
        same(jax.jit(apart)(spread(mesh, given(True), "data")), wanted)


def own_shardings(cache: str | None, guided: bool) -> None:
    """A network that says itself how its products are spread is traced as it is."""
    mesh = mesh_of("explicit", (2, 2))
    out = NamedSharding(mesh.abstract_mesh, P("data"))

    def network(**how: Any) -> StagedDenoiser:
        def blocks(weights: Any, h: Any, time: Any, start: int, stop: int) -> Any:
            for _ in range(start, stop):
                product = jnp.einsum("btd,de->bte", h, weights, **how)
                h = h + 0.3 * jnp.tanh(product + time)
            return h

        return StagedDenoiser(
            3,
            lambda weights, x, t, c: (x, t[:, None, None] / 1000),
            blocks,
            lambda weights, h, time: h,
            lambda weights, h, time: h + time,
        )

    weights = np.asarray(WEIGHTS["blocks"][0][:4, :4])
    x = jax.random.normal(jax.random.key(0), (ROWS, 3, 4))
    branches = (
        {"condition": x, "negative_condition": -x} if guided else {"condition": x}
    )
    asked = options(cache, guided)
    wanted = sample(weights, noise=x, **{**asked, **branches, "model": network()})
    found = sample(
        spread(mesh, weights, "model"),
        noise=spread(mesh, x, "data"),
        **{
            **asked,
            **spread(mesh, branches, "data"),
            "model": network(out_sharding=out),
        },
    )
    same(found.sample, wanted.sample)


def elsewhere() -> None:
    """Arrays go to all of the weights' mesh, and with weights that are nowhere yet."""
    asked = options("step_cache", False)
    wanted = sample(WEIGHTS, **given(False, slice(0, 1)), **asked).sample
    devices, mesh = jax.devices(), mesh_of("explicit")
    asked_at = jax.device_put(given(False, slice(0, 1)), devices[3])
    for weights in (
        WEIGHTS,
        jax.device_put(WEIGHTS, devices[3]),
        spread(mesh, WEIGHTS),
        spread(mesh_of("auto"), WEIGHTS),
    ):
        same(sample(weights, **asked_at, **asked).sample, wanted)
        (one,) = sample_many(weights, [asked_at], **asked)
        same(one.sample, wanted)
    for row in (asked_at, spread(mesh, given(False, slice(0, 1)))):
        with Server(serve(weights, example=row, slots=2, **asked)) as server:
            same(server.submit(row).result().sample, wanted)
    # Another mesh, of other axes, is elsewhere as well.
    other = jax.make_mesh((2,), ("rows",), devices=devices[2:])
    rows = jax.device_put(given(False), NamedSharding(other, P("rows")))
    every = sample(WEIGHTS, **given(False), **asked).sample
    same(sample(spread(mesh, WEIGHTS), **rows, **asked).sample, every)


def refused() -> None:
    """What was put where the weights are not is named, and what to do about it."""
    from jax_stepcache.models.dreamzero import DreamZeroPipeline

    from ..models.dreamzero.robots import MODEL, PARAMS, observation, prompts

    asked, devices = options("step_cache", False), jax.devices()
    row, mesh = given(False, slice(0, 1)), mesh_of("auto")
    half = jax.make_mesh((2,), ("rows",), devices=devices[:2])
    weights = spread(half, WEIGHTS)
    there = jax.device_put(row["noise"], devices[3])
    words = (
        r"is committed to .*3.*, and the weights are on .*0.*1.*: give it as a NumPy"
    )
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _, fun_name="", **__: (
            compiled.append(fun_name)
            if event.endswith("backend_compile_duration")
            else None
        )
    )
    for run in (
        lambda **row: sample(weights, **row, **asked),
        lambda **row: sample_many(weights, [row], **asked),
        lambda **row: serve(weights, example=row, slots=2, **asked),
    ):
        with pytest.raises(ValueError, match="noise " + words):
            run(**row | {"noise": there})
        with pytest.raises(ValueError, match="condition " + words):
            run(**row | {"condition": spread(mesh, row["condition"])})
    # One device's weights would be copied to all at every call.
    with pytest.raises(ValueError, match=r"condition is committed to .* on cpu:1: "):
        sample(jax.device_put(WEIGHTS, devices[1]), **spread(mesh, row), **asked)
    params = load_params("dit", mesh=half, rules="data")
    key = jax.device_put(jax.random.key(1), devices[2])
    shown = params.model.example(jax.random.key(0), 2)
    with pytest.raises(ValueError, match=r"key is committed to .*2"):
        sample(params, observation=shown, key=key)
    with pytest.raises(ValueError, match=r"observation.* is committed to .*3"):
        sample(params, observation=jax.device_put(shown, devices[3]))
    placed = Params(spread(half, PARAMS.weights), MODEL)
    pipe = DreamZeroPipeline(placed, cache_backend="none")
    begun, seen = pipe.start(*prompts(1)), observation(1, 0)
    seen["latents"] = jax.device_put(seen["latents"], devices[3])
    with pytest.raises(ValueError, match=r"observation\['latents'\] is committed to"):
        pipe(begun, seen)
    with pytest.raises(
        ValueError, match=r"observations\[0\]\['latents'\] is committed"
    ):
        pipe.step_many([begun], [seen])
    with pytest.raises(ValueError, match="text is committed"):
        pipe.start(jax.device_put(prompts(1)[0], devices[2]), prompts(1)[1])
    assert "jit(start)" in compiled  # which shows that names are as they are here
    heavy = {
        f"jit({name})"
        for name in ("_run", "empty_state", "advance", "_observe_and_draw")
    }
    assert heavy.isdisjoint(compiled), compiled


def usable(result: Any) -> Any:
    """What is returned in a context is added to and printed there."""
    assert "steps ran the model" in str(result.stats)
    jax.tree.map(lambda x: x + 1, (result.sample, result.stats.signal))
    return result.sample


def in_context(kind: str) -> None:
    """Under `jax.set_mesh`, with weights anywhere; results are of the context."""
    asked = options("step_cache", True)
    mesh = mesh_of(kind)
    row = given(True, slice(0, 1))
    wanted = sample(WEIGHTS, **row, **asked).sample
    all_rows = sample(WEIGHTS, **given(True), **asked).sample
    for weights in (
        WEIGHTS,
        spread(mesh, WEIGHTS),
        spread(mesh_of("auto"), WEIGHTS),
        jax.device_put(WEIGHTS, jax.devices()[1]),
    ):
        with jax.set_mesh(mesh):
            same(usable(sample(weights, **row, **asked)), wanted)
            (one,) = sample_many(weights, [row], **asked)
            same(usable(one), wanted)
            rows = spread(mesh, given(True), "data")
            same(usable(sample(weights, **rows, **asked)), all_rows)
    with jax.set_mesh(mesh):
        elsewhere = jax.device_put(row, jax.devices()[3])
        same(usable(sample(WEIGHTS, **elsewhere, **asked)), wanted)
        with Server(serve(WEIGHTS, example=row, slots=2, **asked)) as server:
            same(usable(server.submit(elsewhere).result()), wanted)


def loaded_in_context(kind: str) -> None:
    """A folder of ours is read onto a mesh, or one device, under `jax.set_mesh`."""
    params, mesh = load_params("dit"), mesh_of(kind)
    with tempfile.TemporaryDirectory() as folder:
        save_params(f"{folder}/dit", params)
        for place in (mesh, mesh_of("auto"), None):
            with jax.set_mesh(mesh):
                found = load_params(f"{folder}/dit", mesh=place)
            jax.tree.map(np.testing.assert_array_equal, found.weights, params.weights)


def bundled(name: str) -> None:
    """Observations, noise and weights on a mesh as `jax.make_mesh` makes it."""
    params, mesh = load_params(name), mesh_of("explicit")
    model = params.model
    shown = model.example(jax.random.key(0), ROWS)
    x = jax.tree.map(
        lambda s: jax.random.normal(jax.random.key(1), s.shape, s.dtype),
        model.noise_struct(ROWS),
    )
    asked = {"cache": "step_cache", "num_inference_steps": 4}
    wanted = sample(params, observation=shown, noise=x, **asked).sample
    rows = spread(mesh, {"observation": shown, "noise": x}, "data")
    for weights in (params, spread(mesh, params), load_params(name, mesh=mesh)):
        found = sample(weights, **rows, **asked).sample
        same(found, wanted)
        same(model.decode(found), model.decode(wanted))
    each = sample(params, **rows, decide="sample", **asked).sample
    same(
        each,
        sample(params, observation=shown, noise=x, decide="sample", **asked).sample,
    )


def calibrated() -> None:
    """Samples to calibrate on may be spread, too."""
    mesh = mesh_of("explicit")
    asked = {"cache": "cache_dit", "target": {"model_calls": 5}}
    own = {"model": UNROLLED, "num_inference_steps": 8}
    wanted = calibrate(WEIGHTS, samples=given(False), **asked, **own)
    found = calibrate(
        WEIGHTS, samples=spread(mesh, given(False), "data"), **asked, **own
    )
    assert str(found) == str(wanted)


def session(kind: str) -> None:
    """DreamZero's sessions, with weights on a mesh and robots' arrays elsewhere."""
    from jax_stepcache.models.dreamzero import DreamZeroPipeline

    from ..models.dreamzero.robots import MODEL, PARAMS, observation, pipeline, prompts

    one = pipeline()
    begun = one.start(*prompts(1))
    wanted = one(begun, observation(1, 0), donate=False).video
    mesh = mesh_of(kind)
    pipe = DreamZeroPipeline(
        Params(spread(mesh, PARAMS.weights), MODEL), cache_backend="none"
    )
    there = functools.partial(jax.device_put, device=jax.devices()[3])
    for context in (contextlib.nullcontext(), jax.set_mesh(mesh)):
        with context:
            begun = there(pipe.start(*there(prompts(1))))
            shown = there(observation(1, 0))
            step = pipe(begun, shown, donate=False)
            assert "steps ran the model" in str(step.stats)
            same(step.video + 1, wanted + 1)
            (step,) = pipe.step_many([begun], [shown], donate=False)
            same(step.video + 1, wanted + 1)
            # Given away, what it returned can be given away, too.
            step = pipe(pipe(begun, shown).session, observation(1, 1))
            jax.tree.map(jnp.isnan, step.session)


# What kind of axes, which cache, whether guided, who decides. Not all with all: these
# are programs for several devices, which take their time to compile.
ON_MESH = [
    *(("explicit", cache, True, "batch") for cache in CACHES),
    *(("explicit", cache, False, "sample") for cache in ("step_cache", "sea_cache")),
    ("explicit", "cache_dit", True, "sample"),
    ("auto", "sea_cache", True, "batch"),
    ("auto", "tea_cache", True, "sample"),
]
IN_SHARD_MAP = [
    *(("auto", cache, True, "batch") for cache in CACHES),
    *(("auto", cache, False, "sample") for cache in ("step_cache", "sea_cache")),
    ("auto", "cache_dit", True, "sample"),
    ("explicit", "cache_dit", True, "batch"),
]

CASES: dict[str, Any] = {
    "elsewhere": elsewhere,
    "refused": refused,
    "tensor parallel": tensor_parallel,
    "partly manual": partly_manual,
    "calibrated": calibrated,
    **{f"load {kind}": functools.partial(loaded_in_context, kind) for kind in KINDS},
    **{f"context {kind}": functools.partial(in_context, kind) for kind in KINDS},
    **{f"session {kind}": functools.partial(session, kind) for kind in KINDS},
    **{name: functools.partial(bundled, name) for name in ("tabletop", "dit")},
    **{
        f"shard_map {name}": functools.partial(bundled_in_shard_map, name)
        for name in ("tabletop", "dit")
    },
}
for _what, _run, _kinds in (
    ("mesh", on_mesh, ON_MESH),
    ("shard_map", in_shard_map, IN_SHARD_MAP),
    (
        "own",
        own_shardings,
        [("step_cache", True), ("cache_dit", True), ("sea_cache", False)],
    ),
):
    for _kind in _kinds:
        CASES[" ".join(map(str, (_what, *_kind)))] = functools.partial(_run, *_kind)


if __name__ == "__main__":
    main(CASES)
