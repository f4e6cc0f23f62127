"""Recorded loops of FLUX, run by the library."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.loop.denoise import walk
from jax_stepcache.loop.generation import Generation
from jax_stepcache.loop.program import sampled
from jax_stepcache.models.flux import FluxModel, FluxRelease
from jax_stepcache.models.flux.network.packing import grid_of, unpacked
from jax_stepcache.network.params import Params
from jax_stepcache.options import options_of, resolve
from jax_stepcache.policy.policy import ComposedState
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

from . import recorded_flux as recorded
from .recorded_wan import assert_close


class Loop(NamedTuple):
    """A recorded loop.

    Attributes:
        arrays: what was recorded.
        settings: of the loop.
        params: the weights and their model.
        observation: what the model is shown.
        schedule: the recorded noise levels.
        scale: of true guidance; 1 for none.
    """

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    params: Params
    observation: dict[str, Any]
    schedule: Schedule
    scale: float


def load(file: Path) -> Loop:
    """Reads a loop, diffusers' or the original's."""
    arrays, settings = recorded.load(file)
    network = recorded.network(file.parent, settings["model"])
    noise = arrays["in/noise_unpacked"]
    original = "in/txt" in arrays
    if original:
        shifted, levels = settings["shift"], arrays["timesteps"]
        # Float32 rounds what it begins with below 1, or to it.
        schedule = explicit_schedule(levels.astype(np.float64), "sigma")
        times = np.asarray(schedule.timesteps) * 1000
        schedule = schedule._replace(timesteps=tuple(times.tolist()))
    else:
        shifted = settings["scheduler"]["use_dynamic_shifting"]
        schedule = explicit_schedule(
            arrays["sigmas"].astype(np.float64), arrays["timesteps"].astype(np.float64)
        )
    release = FluxRelease(network.config, shifted=shifted)
    model = FluxModel(release, noise.shape[2:])
    names = _ORIGINAL if original else _DIFFUSERS
    shown = {ours: arrays[name] for ours, name in names.items() if name in arrays}
    if network.config.guidance_embeds:
        scale = np.float32(settings["guidance_scale"])
        shown["guidance"] = np.full(len(noise), scale)
    scale = settings.get("true_cfg_scale", 1.0)
    return Loop(
        arrays, settings, Params(network.weights, model), shown, schedule, scale
    )


def run(loop: Loop, **options: Any) -> tuple[Any, Any]:
    """Samples it anew; returns the result, and all steps as `walk` gives them."""
    given = {
        "observation": loop.observation,
        "noise": loop.arrays["in/noise_unpacked"],
        "schedule": loop.schedule,
        "solver": "euler",
        "guidance_scale": loop.scale,
        **options,
    }
    with jax.default_matmul_precision("highest"):
        return _walked(resolve(loop.params, options_of(**given)))


@jax.jit
def _walked(generation: Generation) -> tuple[Any, Any]:
    return sampled(generation, functools.partial(walk, keep=_composed))


def _composed(cache: Any) -> list[Any]:
    """Gate and memory of each policy, as they are after a step."""
    found = jax.tree.leaves(cache, is_leaf=lambda x: isinstance(x, ComposedState))
    return [(x.gate, x.memory) for x in found if isinstance(x, ComposedState)]


def velocity_of(loop: Loop, branch: int, step: int) -> np.ndarray:
    """What a branch of true guidance says where the original stood, as tokens."""
    model, shown = loop.params.model, loop.observation
    prefix = "negative_" if branch else ""
    told = {name: shown[name] for name in ("guidance",) if name in shown}
    told |= {name: shown[prefix + name] for name in ("text", "pooled")}
    grid = grid_of(loop.arrays["in/noise_unpacked"].shape)
    latent = unpacked(jnp.asarray(loop.arrays["x"][step]), grid)
    t = jnp.full(len(latent), loop.schedule.timesteps[step], jnp.float32)
    with jax.default_matmul_precision("highest"):
        return recorded.as_tokens(
            _denoised(model, loop.params.weights, latent, t, told)
        )


@functools.partial(jax.jit, static_argnums=0)
def _denoised(model: Any, weights: Any, latent: Any, t: Any, shown: Any) -> jax.Array:
    return model.denoise(weights, latent, t, model.prepare(weights, shown, False))


def check(loop: Loop, result: Any, steps: Any) -> None:
    """All samples, velocities and the end are the recorded ones."""
    wanted, end = loop.arrays["x"], loop.arrays["out/latents_unpacked"]
    most = 1e-3 * max(1.0, float(np.abs(wanted).max()))
    velocities = recorded.as_tokens(steps.velocity)
    for i, theirs in enumerate(loop.arrays["v"]):
        assert_close(f"v[{i}]", velocities[i], theirs, most)
    samples = np.concatenate([steps.sample, result.sample[None]])
    for i, (ours, theirs) in enumerate(
        zip(recorded.as_tokens(samples), wanted, strict=True)
    ):
        assert_close(f"x[{i}]", ours, theirs, most)
    assert_close("latents", result.sample, end, most)
    for branch, name in enumerate(("v_cond_ends", "v_uncond_ends")):
        for at, theirs in zip((0, -1), loop.arrays.get(name, ()), strict=False):
            # What a cache stood in for is no answer of the network's.
            if loop.arrays["computed"][at, branch]:
                ours = velocity_of(loop, branch, at % len(loop.arrays["v"]))
                assert_close(f"{name}[{at}]", ours, theirs, most)


_DIFFUSERS = {
    "text": "in/prompt_embeds",
    "pooled": "in/pooled",
    "negative_text": "in/negative_prompt_embeds",
    "negative_pooled": "in/negative_pooled",
}
_ORIGINAL = {"text": "in/txt", "pooled": "in/vec"}
