"""What `test_processes` runs in two processes of four devices each.

Each case compares what both processes make together with what each of them makes alone,
on its first device.
"""

from __future__ import annotations

import contextlib, os, tempfile, shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jax_stepcache import Params, load_params, sample, sample_many, save_params
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero.training import (
    FinetuneSettings,
    finetune,
    save_chunks,
)
from jax.experimental.multihost_utils import sync_global_devices

from .processes import FOLDER
from ..models.dreamzero.robots import MODEL, PARAMS, observation, prompts
from ..models.dreamzero.training.sequences import random_chunks


def whole(x: Any) -> np.ndarray:
    """All of an array, in every process."""
    from jax.experimental.multihost_utils import process_allgather

    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return process_allgather(x, tiled=True)
    return np.asarray(x)


def same(one: Any, other: Any) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(whole(a), whole(b), atol=1e-4),
        one,
        other,
    )


def mesh_of():
    return jax.make_mesh(
        (4, 2), ("data", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2
    )


def sampling() -> None:
    params = load_params("dit")
    shown = params.model.example(jax.random.key(0), 8)
    asked = {"cache": "step_cache", "num_inference_steps": 4}
    wanted = sample(params, observation=shown, **asked)
    found = sample(
        load_params("dit", mesh=mesh_of(), rules="tensor"), observation=shown, **asked
    )
    same(found.sample, wanted.sample)
    np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
    str(found.stats)


def slots() -> None:
    params = load_params("dit")
    spread = load_params("dit", mesh=mesh_of(), rules="tensor")
    asked = {"cache": "step_cache", "num_inference_steps": 4}
    requests = [
        {"observation": params.model.example(jax.random.key(i), 1)} for i in range(5)
    ]
    wanted = sample_many(params, requests, **asked)
    for one, other in zip(sample_many(spread, requests, **asked), wanted, strict=True):
        same(one.sample, other.sample)
        np.testing.assert_array_equal(one.stats.computed, other.stats.computed)


def control() -> None:
    """A control step, and the one after it."""

    def steps(pipe):
        session, made = pipe.start(*prompts(2)), []
        for i in range(2):
            made.append(pipe(session, observation(2, i), num_inference_steps=4))
            session = made[-1].session
        return made

    wanted = steps(DreamZeroPipeline(PARAMS, cache_backend="step_cache"))
    mesh = jax.make_mesh(
        (2, 2, 2),
        ("branch", "data", "tensor"),
        axis_types=(jax.sharding.AxisType.Auto,) * 3,
    )
    pipe = DreamZeroPipeline(
        PARAMS, cache_backend="step_cache", mesh=mesh, rules="branches"
    )
    for one, other in zip(steps(pipe), wanted, strict=True):
        same((one.video, one.action), (other.video, other.action))
        np.testing.assert_array_equal(one.stats.computed, other.stats.computed)
    session = steps(pipe)[-1].session
    with shared_folder() as folder:
        pipe.save_session(folder / "session", session)


def separate() -> None:
    def steps(pipe):
        return pipe.step_many(
            [pipe.start(*prompts(1, i)) for i in range(3)],
            [observation(1, i) for i in range(3)],
            num_inference_steps=4,
        )

    mesh = jax.make_mesh(
        (2, 2, 2),
        ("branch", "data", "tensor"),
        axis_types=(jax.sharding.AxisType.Auto,) * 3,
    )
    pipe = DreamZeroPipeline(
        PARAMS, cache_backend="step_cache", mesh=mesh, rules="branches"
    )
    wanted = steps(DreamZeroPipeline(PARAMS, cache_backend="step_cache"))
    for one, other in zip(steps(pipe), wanted, strict=True):
        same((one.video, one.action), (other.video, other.action))
        np.testing.assert_array_equal(one.stats.computed, other.stats.computed)


SETTINGS = FinetuneSettings(
    steps=3, batch=8, learning_rate=0.01, warmup=0.0, lora=0, dropout=0.5
)


@contextlib.contextmanager
def shared_folder():
    """A folder that all processes see."""
    yield Path(os.environ[FOLDER])


def finetuning() -> None:
    with shared_folder() as folder:
        chunks = folder / "chunks"
        if jax.process_index() == 0:
            save_chunks(chunks, random_chunks(MODEL, 16))
        sync_global_devices("chunks")
        params = Params(PARAMS.weights, MODEL)
        mesh = jax.make_mesh((2, 4), ("data", "fsdp"))
        one = finetune(
            params, chunks, folder / f"one", SETTINGS, mesh=mesh, stop_after=2
        )
        two = finetune(
            params, chunks, folder / f"one", SETTINGS, mesh=mesh, resume=True
        )
        three = finetune(params, chunks, folder / f"whole", SETTINGS, mesh=mesh)
        jax.tree.map(
            lambda a, b: np.testing.assert_array_equal(whole(a), whole(b)),
            two.weights,
            three.weights,
        )


def checkpoints() -> None:
    with shared_folder() as folder:
        dit = load_params("dit")
        params = load_params("dit", mesh=mesh_of(), rules="tensor")
        save_params(folder / "saved", params)
        read = load_params(folder / "saved", mesh=mesh_of(), rules="tensor")
        same(read.weights, dit.weights)
        for x, y in zip(*map(jax.tree.leaves, (read, params)), strict=True):
            assert x.sharding.is_equivalent_to(y.sharding, x.ndim)
        same(load_params(folder / "saved").weights, dit.weights)


CASES = {
    "sampling": sampling,
    "slots": slots,
    "control": control,
    "separate": separate,
    "finetuning": finetuning,
    "checkpoints": checkpoints,
}
