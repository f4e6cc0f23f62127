"""Fine-tuning on several devices; run by `test_training_on_meshes` in a process of its
own, which has eight."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from jax_stepcache import Params
from jax_stepcache.models.dreamzero.training import (
    FinetuneSettings,
    FlowMatching,
    finetune,
    save_chunks,
)
from jax_stepcache.models.dreamzero.training.finetune import _Loss, _optimizer
from jax_stepcache.models.training.fully_sharded import fully_sharded
from jax_stepcache.models.training.step import init_state, train_step

from ..models.dreamzero.small import SMALL, random_weights
from ..models.dreamzero.training.sequences import MODEL, random_chunks
from .devices import main

PARAMS = Params(jax.tree.map(jnp.asarray, random_weights(SMALL)), MODEL)
SETTINGS = FinetuneSettings(
    steps=3, batch=8, learning_rate=0.01, warmup=0.0, lora=0, dropout=0.5
)


def mesh_of(axes: dict[str, int], kind: AxisType = AxisType.Auto) -> Mesh:
    count = int(np.prod(list(axes.values())))
    devices = jax.devices()[:count]
    return jax.make_mesh(
        tuple(axes.values()), tuple(axes), (kind,) * len(axes), devices=devices
    )


def trained(out: Path, settings: FinetuneSettings, **more: Any) -> Any:
    return finetune(PARAMS, out.parent / "chunks", out, settings, **more).weights


def alike(one: Any, other: Any) -> None:
    """Up to rounding, which Adam's first steps make as large as gradients near zero."""

    def same(a: jax.Array, b: jax.Array) -> None:
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-4)

    jax.tree.map(same, one, other)


def with_chunks(case: Callable[[Path], None]) -> Callable[[], None]:
    """Gives a case a folder with sequences to train on."""

    @functools.wraps(case)
    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            save_chunks(Path(folder) / "chunks", random_chunks(MODEL, 16))
            case(Path(folder))

    return run


@with_chunks
def meshes(folder: Path) -> None:
    """All weights are trained to those of one device, on a mesh with two axes; moments
    and averages are spread as the weights are."""
    one = trained(folder / "one", SETTINGS)
    mesh = mesh_of({"data": 2, "fsdp": 4}, AxisType.Explicit)
    found = trained(folder / "both", SETTINGS, mesh=mesh)
    alike(found, one)
    kernel = found["blocks"]["ffn"]["layer1"]["kernel"]
    assert kernel.addressable_shards[0].data.size * 4 == kernel.size
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), one, PARAMS.weights)
    assert max(jax.tree.leaves(moved)) > 0.01


@with_chunks
def adapters(folder: Path) -> None:
    """Begun on one device, gone on with on eight, and back; batches in parts."""
    settings = SETTINGS._replace(lora=2, accumulate=2, batch=16)
    one = trained(folder / "one", settings)
    out = folder / "several"
    trained(out, settings, stop_after=1)
    trained(out, settings, mesh=mesh_of({"data": 8}), resume=True, stop_after=2)
    alike(trained(out, settings, resume=True), one)


def program() -> None:
    """A step: compiled once, and no array of it is all layers' kernels in one piece."""
    layout = fully_sharded(mesh_of({"fsdp": 8}), 8)
    assert layout is not None
    optimizer = _optimizer(SETTINGS)
    loss = _Loss(FlowMatching(MODEL, remat=True, layout=layout), alpha=None)
    state = init_state(PARAMS.weights, optimizer, layout)
    begun = jax.tree.map(lambda x: x.sharding, state)
    batch = jax.device_put(random_chunks(MODEL, 8), layout.rows)
    going: Any = jax.device_put(True, layout.whole)
    given = {"loss": loss, "optimizer": optimizer, "decay": 0.9, "layout": layout}
    compiled = train_step.lower(
        state, None, batch, jax.random.key(0), going=going, **given
    ).compile()
    before = train_step._cache_size()
    for _ in range(2):
        state, _, sound = train_step(
            state, None, batch, jax.random.key(0), going=going, **given
        )
        going = sound.going
    assert train_step._cache_size() == before + 1
    for x, where in zip(jax.tree.leaves(state), jax.tree.leaves(begun), strict=True):
        assert x.sharding.is_equivalent_to(where, x.ndim), x.sharding
    text = compiled.as_text()
    for layer in ("layer1", "layer2"):
        shape = PARAMS.weights["blocks"]["ffn"][layer]["kernel"].shape
        whole = f"f32[{','.join(map(str, shape))}]"
        assert whole not in text, whole


CASES: dict[str, Any] = {"meshes": meshes, "adapters": adapters, "program": program}


if __name__ == "__main__":
    main(CASES)
