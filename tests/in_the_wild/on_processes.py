"""What `test_processes` runs in two processes of four devices each.

Each case compares what both processes make together with what each of them makes alone,
on its first device.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jax_stepcache import (
    Params,
    load_params,
    sample,
    sample_many,
    save_params,
    serve,
)
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero.training import (
    FinetuneSettings,
    finetune,
    save_chunks,
)
from jax_stepcache.models.dreamzero.training.finetune import step_of
from jax_stepcache.models.training.loader import Loader, Order
from jax_stepcache.models.training.step import init_state, train_step
from jax_stepcache.processes import by_main, gathered, is_main, put

from ..models.dreamzero.robots import PARAMS, observation, prompts
from ..models.dreamzero.small import SMALL, random_weights
from ..models.dreamzero.training.sequences import MODEL, random_chunks
from ..staged import UNROLLED, WEIGHTS, conditions, noise
from .processes import FOLDER

ASKED: dict[str, Any] = {"cache": "step_cache", "num_inference_steps": 4}
SETTINGS = FinetuneSettings(
    steps=3, batch=8, learning_rate=0.01, warmup=0.0, lora=0, dropout=0.5
)


def mesh_of(**axes: int) -> Mesh:
    """All devices of both processes."""
    return jax.make_mesh(tuple(axes.values()), tuple(axes))


def same(one: Any, other: Any) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        gathered(one),
        gathered(other),
    )


def same_decisions(one: Any, other: Any) -> None:
    """Statistics are read and printed in every process."""
    np.testing.assert_array_equal(one.stats.computed, other.stats.computed)
    assert str(one.stats) == str(other.stats)


def sampling() -> None:
    """A bundled model by rules; a network of one's own, each row for itself."""
    params = load_params("dit")
    shown = params.model.example(jax.random.key(0), 8)
    wanted = sample(params, observation=shown, **ASKED)
    params = load_params("dit", mesh=mesh_of(data=4, tensor=2), rules="tensor")
    assert not jax.tree.leaves(params.weights)[0].is_fully_addressable
    found = sample(params, observation=shown, **ASKED)
    same(found.sample, wanted.sample)
    same_decisions(found, wanted)
    rows = {"noise": noise(8), "condition": conditions(8)[0]}
    asked = {**ASKED, "model": UNROLLED, "decide": "sample"}
    where = NamedSharding(mesh_of(data=8), P("data"))
    found = sample(WEIGHTS, **jax.device_put(rows, where), **asked)
    wanted = sample(WEIGHTS, **rows, **asked)
    same(found.sample, wanted.sample)
    same_decisions(found, wanted)


def slots() -> None:
    """Requests through slots that lie on the devices of both, and a stream of them."""
    alone = load_params("dit")
    params = load_params("dit", mesh=mesh_of(data=4, tensor=2), rules="tensor")
    requests = [
        {"observation": alone.model.example(jax.random.key(i), 1)} for i in range(5)
    ]
    wanted = sample_many(alone, requests, **ASKED)
    for one, other in zip(sample_many(params, requests, **ASKED), wanted, strict=True):
        same(one.sample, other.sample)
        same_decisions(one, other)
    stream = serve(params, slots=4, max_inference_steps=4, **ASKED)
    stream.submit(requests[0])
    (outcome,) = stream
    same(outcome.result.sample, wanted[0].sample)


def control() -> None:
    """A control step; its session, written by one process, is read by both."""
    mesh = mesh_of(branch=2, data=2, tensor=2)
    pipe = DreamZeroPipeline(
        PARAMS, cache_backend="step_cache", mesh=mesh, rules="branches"
    )
    alone = DreamZeroPipeline(PARAMS, cache_backend="step_cache")
    one, other = (
        each(each.start(*prompts(2)), observation(2, 0), num_inference_steps=4)
        for each in (pipe, alone)
    )
    same((one.video, one.action), (other.video, other.action))
    same_decisions(one, other)
    path = Path(os.environ[FOLDER]) / "session.safetensors"
    pipe.save_session(path, one.session)
    read = pipe.load_session(path)
    jax.tree.map(np.testing.assert_array_equal, gathered(read), gathered(one.session))
    same(alone.load_session(path), other.session)


def checkpoints() -> None:
    """Both write a folder, and both read it: by rules, or each for itself."""
    folder, mesh = Path(os.environ[FOLDER]), mesh_of(data=4, tensor=2)
    alone = load_params("dit")
    spread = load_params("dit", mesh=mesh, rules="tensor")
    for name, params in (("spread", spread), ("alone", alone)):
        save_params(folder / name, params)
        read = load_params(folder / name, mesh=mesh, rules="tensor")
        for x, y in zip(*map(jax.tree.leaves, (read, spread)), strict=True):
            assert x.sharding.is_equivalent_to(y.sharding, x.ndim)
        for found in (read, load_params(folder / name)):
            jax.tree.map(
                np.testing.assert_array_equal, gathered(found.weights), alone.weights
            )
    # What the main process cannot do fails in all of them.
    with pytest.raises(FileExistsError, match="exists; give a new name"):
        save_params(folder / "spread", spread)


def finetuning() -> None:
    """A step's numbers are one device's, and so is a run's order; a run that is resumed
    from the checkpoint that both have written goes on as one that never stopped."""
    folder, chunks = Path(os.environ[FOLDER]), random_chunks(MODEL, 16)
    by_main(lambda: save_chunks(folder / "chunks", chunks))
    params = Params(jax.tree.map(jnp.asarray, random_weights(SMALL)), MODEL)
    mesh = mesh_of(data=2, fsdp=4)
    whole = finetune(params, folder / "chunks", folder / "whole", SETTINGS, mesh=mesh)
    for more in ({"stop_after": 2}, {"resume": True}):
        found = finetune(
            params, folder / "chunks", folder / "parts", SETTINGS, mesh=mesh, **more
        )
    jax.tree.map(
        np.testing.assert_array_equal, gathered(found.weights), gathered(whole.weights)
    )
    kernel = found.weights["blocks"]["ffn"]["layer1"]["kernel"]
    assert kernel.addressable_shards[0].data.size * 4 == kernel.size

    # The same run on one device, without the loop, which is for all processes.
    loss, optimizer = step_of(MODEL, SETTINGS)
    state = init_state(jax.tree.map(jnp.copy, params.weights), optimizer)
    order = Order(16, SETTINGS.batch, SETTINGS.seed)
    for step in range(SETTINGS.steps):
        key = jax.random.fold_in(jax.random.key(SETTINGS.seed + 1), step)
        rows = order.rows(step)
        batch = jax.tree.map(lambda x, rows=rows: x[rows], chunks)
        state, _, _ = train_step(
            state, None, batch, key, loss=loss, optimizer=optimizer, decay=0.99
        )
    jax.tree.map(
        # As on the meshes of one process: Adam makes rounding large.
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4),
        gathered(whole.weights),
        gathered(state.averaged),
    )


def loading() -> None:
    """Each process reads half of a batch; together it is the batch of one."""
    read: list[int] = []

    class Rows:
        def __len__(self) -> int:
            return 24

        def __getitem__(self, row: int) -> np.ndarray:
            read.append(row)
            return np.full(3, row, np.float32)

    order = Order(24, 8, seed=3)
    for axes in ({"data": 8}, {"data": 2, "fsdp": 4}):
        mesh = mesh_of(**axes)
        where = NamedSharding(mesh, P(mesh.axis_names))
        loader = Loader(Rows(), order, steps=3, where=where)
        read.clear()
        places = np.arange(4) + (0 if is_main() else 4)
        np.testing.assert_array_equal(loader.places(), places)
        for step in range(3):
            found = gathered(loader.batch_at(step))
            np.testing.assert_array_equal(found[:, 0], order.rows(step))
        mine = [order.rows(step)[places] for step in range(3)]
        assert sorted(read) == sorted(np.concatenate(mine).tolist())
        loader.close()


def refused() -> None:
    """What lies on the devices of one process is told in both, before compiling."""
    params = load_params("dit", mesh=mesh_of(data=4, tensor=2), rules="tensor")
    here = jax.local_devices()[1]
    rows = params.model.example(jax.random.key(0), 8)
    shown = jax.device_put(rows, here)
    row = jax.device_put(params.model.example(jax.random.key(0), 1), here)
    pipe = DreamZeroPipeline(
        PARAMS, mesh=mesh_of(branch=2, data=2, tensor=2), rules="branches"
    )
    begun, seen = pipe.start(*prompts(2)), observation(2, 0)
    seen["state"] = jax.device_put(seen["state"], here)
    key = jax.device_put(jax.random.key(0), here)
    calls: dict[str, Callable[[], Any]] = {
        "observation": lambda: sample(params, observation=shown, **ASKED),
        "observation ": lambda: sample_many(params, [{"observation": row}], **ASKED),
        "key": lambda: sample(params, observation=rows, key=key, **ASKED),
        r"observation\['state'\]": lambda: pipe(begun, seen),
        "text": lambda: pipe.start(*jax.device_put(prompts(2), here)),
    }
    words = r".* is committed to .*, and the weights are on .*: give the same NumPy"
    for what, call in calls.items():
        with pytest.raises(ValueError, match=what.strip() + words):
            call()
    with pytest.raises(ValueError, match="2 processes train together on a mesh"):
        finetune(Params(PARAMS.weights, PARAMS.model), "none", "none", SETTINGS)


def keys() -> None:
    """PRNG keys with a type, the same on all devices or spread over them."""
    every = jax.random.split(jax.random.key(3, impl="rbg"), 8)
    numbers = jax.random.key_data(every)
    for spec in (P(), P("data")):
        there = put(every, NamedSharding(mesh_of(data=8), spec))
        assert not there.is_fully_addressable
        assert there.dtype == every.dtype
        assert there.sharding.shard_shape((8,)) == ((1,) if len(spec) else (8,))
        back = gathered({"keys": there})["keys"]
        np.testing.assert_array_equal(jax.random.key_data(back), numbers)
        assert back.is_fully_addressable


CASES: dict[str, Any] = {
    "keys": keys,
    "sampling": sampling,
    "slots": slots,
    "control": control,
    "checkpoints": checkpoints,
    "finetuning": finetuning,
    "loading": loading,
    "refused": refused,
}
