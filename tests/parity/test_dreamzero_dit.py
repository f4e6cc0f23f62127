"""One forward of the transformer gives the original's numbers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import (
    DreamZeroConfig,
    KVCache,
    Outputs,
    bind,
)
from jax_stepcache.models.dreamzero.network.kv_cache import append
from jax_stepcache.models.sizes.parameters import Weights

from . import recorded
from .cases import dreamzero_files, parametrize


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cases, ids = [], []
    for file in dreamzero_files(metafunc.config, "*_dit.npz"):
        params = recorded.params_beside(file, file.name.removesuffix("_dit.npz"))
        names = sorted(
            name.split("/")[0]
            for name in recorded.arrays(file)
            if name.endswith("/in/x")
        )
        cases += [(params, file, name) for name in names]
        ids += [f"dreamzero-{file.name}-{name}" for name in names]
    parametrize(metafunc, "params, file, case", cases, ids)


def test_forward_matches_original(params: Path, file: Path, case: str) -> None:
    """Video and action velocities and the KV window are the original's."""
    config, weights = recorded.weights(params)
    arrays = recorded.arrays(file)
    sample = recorded.part(arrays, f"{case}/in/")
    expected = recorded.part(arrays, f"{case}/out/")
    start = int(sample["csf"])
    layers = range(config.num_layers)
    old = np.stack([sample[f"kv{layer}"] for layer in layers], axis=1)
    cache = _cache(config, old, start)
    inputs = {
        "video": sample["x"],
        "t_video": _one_timestep(sample["t_video"]),
        "y": sample["y"],
        "start_frame": np.int32(start),
    }
    if "action" in sample:
        inputs |= {
            "action": sample["action"],
            "t_action": _one_timestep(sample["t_action"]),
            "state": arrays["in/state"],
        }
    with jax.default_matmul_precision("highest"):
        outputs, written = _forward(
            config,
            weights,
            arrays["in/context"],
            arrays["in/clip"],
            inputs,
            cache,
        )

    recorded.assert_close("video", outputs.video, expected.pop("video"))
    if "action" in sample:
        recorded.assert_close("action", outputs.action, expected.pop("action"))
    window = np.stack([expected.pop(f"kv{layer}") for layer in layers], axis=1)
    new = np.stack(outputs.keys_values)
    together = np.concatenate([old, new], axis=3)[:, :, :, -window.shape[3] :]
    recorded.assert_close("kv window", together, window)
    assert not expected, f"recorded outputs that nothing was compared with: {expected}"
    if written is not None:
        recorded.assert_close(
            "kv cache", _in_order(config, written, window.shape[3]), window
        )


@partial(jax.jit, static_argnums=0)
def _forward(
    config: DreamZeroConfig,
    weights: Weights,
    text: jax.Array,
    image: jax.Array,
    inputs: dict[str, jax.Array],
    cache: KVCache,
) -> tuple[Outputs, KVCache | None]:
    """The forward and, without actions, also the cache that a prefill leaves."""
    model = bind(config, weights)
    context = model.encode_context(text, None if config.image_dim is None else image)
    outputs = model.forward(context=context, cache=cache, **inputs)
    if "action" in inputs:
        names = ("video", "action", "state", "t_video", "t_action")
        rest = {name: inputs[name] for name in ("y", "start_frame")}
        video, action = model(*(inputs[n] for n in names), context, cache, **rest)
        return outputs._replace(video=video, action=action), None
    rest = {name: inputs[name] for name in ("y", "start_frame")}
    return outputs, model.prefill(inputs["video"], context, cache, **rest)


def _cache(config: DreamZeroConfig, old: np.ndarray, start: int) -> KVCache:
    """The cache of frames that end before ``start``, (2, layers, 1, ...)."""
    frames = min(old.shape[3] // config.frame_seqlen, config.window)
    cache = KVCache.empty(config, 1)
    cache = cache._replace(length=jnp.full(1, max(start - frames, 0), jnp.int32))
    if frames == 0:
        return cache
    old = old[:, :, :, -frames * config.frame_seqlen :]
    return append(config, cache, jnp.asarray(old[0]), jnp.asarray(old[1]))


def _in_order(config: DreamZeroConfig, cache: KVCache, tokens: int) -> np.ndarray:
    """The last tokens in the order of their frames, (2, layers, 1, tokens, ...)."""
    frames = tokens // config.frame_seqlen
    slots = (int(cache.length[0]) - frames + np.arange(frames)) % config.window
    within = np.arange(config.frame_seqlen)
    index = (slots[:, None] * config.frame_seqlen + within).ravel()
    return np.stack([cache.k, cache.v])[:, :, :, index]


def _one_timestep(t: np.ndarray) -> np.ndarray:
    """(B,) of (B, tokens); the original repeats one timestep for all of a kind."""
    assert (t == t[:, :1]).all()
    return t[:, 0].astype(np.float32)
