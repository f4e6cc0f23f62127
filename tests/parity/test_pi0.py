"""pi0 and pi0.5 give openpi's numbers: prefix, suffix, loop and loss."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache.loop.denoise import walk
from jax_stepcache.loop.program import sampled
from jax_stepcache.models.layers.patches import patchify
from jax_stepcache.models.pi0 import CAMERAS, Pi0Condition, Pi0Config, bind
from jax_stepcache.models.pi0.network.gemma import rotation_at
from jax_stepcache.models.pi0.network.times import time_embedding
from jax_stepcache.models.pi0.pictures import as_seen
from jax_stepcache.models.pi0.training import loss
from jax_stepcache.options import options_of, resolve
from jax_stepcache.policy.signals.cosine import cosine_per_sample

from . import recorded_pi0 as recorded
from .recorded_wan import assert_close, highest

# Absolute, float32, as the recordings' README has them.
PREFIX, SUFFIX, LOOP = 1e-4, 3e-4, 1e-3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, metafunc.function is test_the_loss_is_the_originals)


def test_pictures_are_resized_as_the_originals(file: Path) -> None:
    """As a whole, antialiased, with bars."""
    run = recorded.load(file)
    size = run.params.model.config.image_size
    for name in CAMERAS:
        made = as_seen(run.observation["image"][name], size)
        assert made.shape[1:] == (size, size, 3)
        if f"pre/image/{name}" in run.arrays:
            assert_close(name, made, run.arrays[f"pre/image/{name}"], LOOP)


def test_prefix_and_suffix_are_the_originals(file: Path) -> None:
    """Part by part, where there is a token."""
    run = recorded.load(file)
    shown = run.observation
    config = run.params.model.config
    given = run.arrays["noise"], run.arrays["time"][:1]
    made = highest(partial(_parts, config))(run.params.weights, shown, *given)
    there = run.arrays["prefix/mask"]
    compared = [name for name in run.arrays if name.startswith(_PARTS)]
    # Where tokens stand is known by how they are turned.
    head = config.expert.head_dim
    turned = rotation_at(jnp.asarray(run.arrays["suffix/positions"]), head)
    for ours, theirs in zip(made.pop("turned"), turned, strict=True):
        assert_close("suffix/positions", ours, np.asarray(theirs), 1e-6)
    for name in compared:
        theirs = run.arrays[name]
        if name == "suffix/positions":
            continue
        ours = np.asarray(made[name])
        if theirs.dtype != np.float32:
            np.testing.assert_array_equal(ours, theirs, name)
        elif name in ("prefix/k", "prefix/v"):
            assert_close(name, ours[:, there], theirs[:, there], PREFIX)
        elif name.startswith(("prefix/", "mid/prefix")):
            assert_close(name, ours[there], theirs[there], PREFIX)
        else:
            assert_close(name, ours, theirs, _tolerance(name))
    assert len(compared) > 8


_PARTS = ("siglip/", "prefix/", "mid/", "suffix/")


def _stem(vision: Any, pictures: jax.Array) -> jax.Array:
    """Patches before they are told where they are, on their grid."""
    size = vision.config.vision.patch_size
    tokens = vision.patch_embedding(patchify(pictures.astype(jnp.float32), size))
    side = vision.config.image_size // size
    return tokens.reshape(len(pictures), side, side, -1)


def _tolerance(name: str) -> float:
    return PREFIX if name.startswith("siglip/") else SUFFIX


@partial(jax.jit, static_argnums=0)
def _parts(
    config: Pi0Config, weights: Any, shown: Any, noise: jax.Array, time: jax.Array
) -> dict[str, Any]:
    network = bind(config, weights)
    pictures = [as_seen(shown["image"][name], config.image_size) for name in CAMERAS]
    there = [shown["image_mask"][name] for name in CAMERAS]
    words = shown["tokenized_prompt"], shown["tokenized_prompt_mask"]
    prefix = network.embed_prefix(pictures, there, *words)
    vision = network.vision
    tokens = vision.embed(pictures[0])
    made: dict[str, Any] = {
        "siglip/stem": _stem(vision, pictures[0]),
        "siglip/with_posemb": tokens,
        "siglip/encoded": vision.norm(vision.run_blocks(tokens)),
        "siglip/out": vision(pictures[0]),
        "prefix/tokens": prefix.tokens,
        "prefix/mask": prefix.mask,
        "prefix/positions": jnp.cumsum(prefix.mask, axis=1) - 1,
    }
    for i in range(config.vision.depth):
        made[f"siglip/block{i}"] = vision.run_blocks(tokens, 0, i + 1)
    for i in range(config.gemma.depth - 1):
        made[f"mid/prefix_layer{i}"] = network.read_prefix(prefix, i + 1)[0]
    last, cache = network.read_prefix(prefix)
    made[f"mid/prefix_layer{config.gemma.depth - 1}"] = last
    made["prefix/k"], made["prefix/v"] = cache
    made["prefix/out"] = network.gemma.norm(last, None)[0]
    t = jnp.broadcast_to(time, len(noise))
    condition = Pi0Condition(cache, prefix.mask, shown["state"])
    tokens, stage = network.embed(noise, t, condition)
    made["suffix/tokens0"], made["suffix/mask"] = tokens, stage.where.mask
    made["turned"] = stage.where.rotation
    made["suffix/posemb0"] = time_embedding(t, config.expert.width)
    for i in range(config.expert.depth):
        made[f"mid/suffix_layer{i}"] = network.run_blocks(tokens, stage, 0, i + 1)
    last = made[f"mid/suffix_layer{config.expert.depth - 1}"]
    made["suffix/out0"] = network.expert.norm(last, stage.told)[0]
    return made


def test_each_step_is_the_originals(file: Path) -> None:
    """The velocity where the original stood, at its own float32 times."""
    run = recorded.load(file)
    model, weights = run.params.model, run.params.weights
    schedule = model.usual_schedule(run.num_steps, 1.0)
    times = np.asarray(schedule.sigmas[:-1], np.float32)
    np.testing.assert_array_equal(times, run.arrays["time"])

    @jax.jit
    def velocities(weights: Any, observation: Any, x: jax.Array) -> Any:
        condition = model.prepare(weights, observation, False)

        def at(one: tuple[jax.Array, jax.Array]) -> Any:
            t = jnp.broadcast_to(one[1], len(one[0]))
            _, stage = model.embed(weights, one[0], t, condition)
            return model.denoise(weights, one[0], t, condition), stage.told

        return jax.lax.map(at, (x, jnp.asarray(schedule.timesteps, jnp.float32)))

    made, told = highest(velocities)(weights, run.observation, run.arrays["x_t"][:-1])
    assert_close("v_t", made, run.arrays["v_t"], LOOP)
    if "adarms_cond" in run.arrays:
        assert_close("adarms_cond", told, run.arrays["adarms_cond"], SUFFIX)
    if "time_embedding" in run.arrays:
        waves = time_embedding(jnp.asarray(times), model.config.expert.width)
        theirs = run.arrays["time_embedding"]
        waves = np.broadcast_to(np.asarray(waves)[:, None], theirs.shape)
        assert_close("time_embedding", waves, theirs, SUFFIX)
    cosines = jax.vmap(cosine_per_sample)(made[:-1], made[1:])
    assert_close("cosine", cosines, run.arrays["cosine"], LOOP)


@pytest.mark.parametrize("decide", ["batch", "sample"])
def test_actions_are_the_originals(file: Path, decide: str) -> None:
    """`sample` with the model's defaults, but for the number of steps."""
    run = recorded.load(file)
    with jax.default_matmul_precision("highest"):
        result = jax_stepcache.sample(
            run.params,
            observation=run.observation,
            noise=run.arrays["noise"],
            num_inference_steps=run.num_steps,
            decide=decide,
        )
    assert_close("actions", result.sample, run.arrays["actions"], LOOP)


def test_noisy_actions_are_the_originals(file: Path) -> None:
    """Each sample and each velocity on the library's own way."""
    run = recorded.load(file)
    options = options_of(
        observation=run.observation,
        noise=run.arrays["noise"],
        num_inference_steps=run.num_steps,
    )
    _, steps = highest(_walked)(resolve(run.params, options))
    assert_close("x_t", steps.sample, run.arrays["x_t"][:-1], LOOP)
    assert_close("v_t", steps.velocity, run.arrays["v_t"], LOOP)
    np.testing.assert_array_equal(run.arrays["x_t"][0], run.arrays["noise"])


@jax.jit
def _walked(generation: Any) -> Any:
    return sampled(generation, partial(walk))


def test_the_loss_is_the_originals(file: Path) -> None:
    """Of each action, with the recorded noise and times."""
    run = recorded.load(file)
    given = [run.arrays[f"train/{name}"] for name in ("actions", "noise", "time")]
    made = highest(jax.jit(partial(loss, run.params.model)))(
        run.params.weights, run.observation, *given
    )
    assert_close("loss", made, run.arrays["train/loss"], LOOP)
