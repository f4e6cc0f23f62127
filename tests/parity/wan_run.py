"""Recorded loops of Wan, run by the library."""

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
from jax_stepcache.models.wan import WanModel, WanRelease
from jax_stepcache.models.wan.conditioning import (
    beside_latent,
    normalised,
    with_first,
)
from jax_stepcache.network.params import Params
from jax_stepcache.options import options_of, resolve

from . import recorded_wan as recorded

_TEXT_LEN = 512


class Loop(NamedTuple):
    """A recorded loop, with a batch axis also where the original has none.

    Attributes:
        arrays: what was recorded.
        settings: of the loop.
        params: the weights and their model.
        observation: what the model is shown.
        noise: the first sample.
        scale: guidance scale, of the first transformer.
        last: the recorded samples and velocities, [N + 1, B, ...] and [N, B, ...].
    """

    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    params: Params
    observation: dict[str, Any]
    noise: np.ndarray
    scale: float
    samples: np.ndarray
    velocities: np.ndarray


def load(file: Path) -> Loop:
    """Reads a loop, diffusers' or an original one."""
    arrays, settings = recorded.load(file)
    networks = [recorded.network(file.parent, name) for name in settings["models"]]
    original = "original" in settings
    samples, velocities = arrays["x"], arrays["v"]
    noise = arrays["in/noise"]
    if original:
        noise, samples, velocities = noise[None], samples[:, None], velocities[:, None]
    high, low = _scales(settings)
    task = _task(settings)
    release = WanRelease(
        networks[0].config,
        task,
        shift=1.0,
        guidance_scale=high,
        num_inference_steps=len(velocities),
        guidance_scale_2=low if len(networks) > 1 else None,
        boundary_ratio=settings.get("boundary_ratio", settings.get("boundary")),
    )
    model = WanModel(release, noise.shape[2:])
    weights: Any = networks[0].weights
    if len(networks) > 1:
        names = release.experts
        weights = {n: one.weights for n, one in zip(names, networks, strict=True)}
    observation = _observation(arrays, settings, task, len(noise))
    return Loop(
        arrays,
        settings,
        Params(weights, model),
        observation,
        noise,
        high,
        samples,
        velocities,
    )


def run(loop: Loop, **options: Any) -> tuple[Any, Any]:
    """Samples it anew; returns the result, and all steps as `walk` gives them."""
    kind = loop.settings.get("scheduler", {}).get("kind", "unipc")
    given = {
        "observation": loop.observation,
        "noise": loop.noise,
        "schedule": recorded.schedule_of(loop.arrays),
        "solver": "euler" if "Euler" in kind else "unipc",
        "guidance_scale": loop.scale,
        **options,
    }
    with jax.default_matmul_precision("highest"):
        return _walked(resolve(loop.params, options_of(**given)))


@jax.jit
def _walked(generation: Generation) -> tuple[Any, Any]:
    return sampled(generation, functools.partial(walk))


def check(loop: Loop, result: Any, steps: Any) -> None:
    """All samples, velocities and the end are the recorded ones."""
    first = loop.observation.get("first")
    samples = np.concatenate([steps.sample, result.sample[None]])
    if first is not None and "original" in loop.settings:
        samples = np.stack([with_first(x, first) for x in jnp.asarray(samples)])
    most = 1e-3 * max(1.0, float(np.abs(loop.samples).max()))
    for i, (ours, theirs) in enumerate(
        zip(np.asarray(steps.velocity), loop.velocities, strict=True)
    ):
        recorded.assert_close(f"v[{i}]", ours, theirs, most)
    for i, (ours, theirs) in enumerate(zip(samples, loop.samples, strict=True)):
        recorded.assert_close(f"x[{i}]", ours, theirs, most)
    if "out/latents" in loop.arrays:
        end = jnp.asarray(result.sample)
        end = end if first is None else with_first(end, first)
        recorded.assert_close("latents", end, loop.arrays["out/latents"], most)


def _scales(settings: dict[str, Any]) -> tuple[float, float]:
    """Guidance of the high-noise expert and of the low-noise one."""
    if "original" in settings:
        given = settings["guidance"]
        return (given[1], given[0]) if isinstance(given, list) else (given, given)
    high, low = settings["guidance_scale"], settings["guidance_scale_2"]
    return high, high if low is None else low


def _task(settings: dict[str, Any]) -> str:
    if settings["models"][0].startswith("ti2v"):
        return "ti2v"
    if settings.get("last_image"):
        return "flf2v"
    return "i2v" if settings.get("image") else "t2v"


def _observation(
    arrays: dict[str, np.ndarray], settings: dict[str, Any], task: str, batch: int
) -> dict[str, Any]:
    original = "original" in settings
    shown: dict[str, Any] = {}
    names = ("in/context", "in/context_null") if original else _EMBEDS
    for ours, theirs in zip(("text", "negative_text"), names, strict=True):
        if theirs in arrays:
            text = arrays[theirs]
            if original:
                more = _TEXT_LEN - len(text)
                text = np.pad(text, ((0, more), (0, 0)))[None]
            shown[ours] = text
    image = arrays.get("in/clip_fea", arrays.get("in/image_embeds"))
    if image is not None:
        image = image.reshape(1, -1, image.shape[-1])
        shown["image"] = np.repeat(image, batch, axis=0)
    latent = arrays.get("in/vae_latent")
    if latent is None:
        return shown
    if original:
        condition = jnp.asarray(latent[None])
    else:
        statistics = (arrays["vae/mean"], arrays["vae/std"])
        condition = normalised(jnp.asarray(latent), *statistics)
    condition = jnp.repeat(condition, batch, axis=0)
    if task == "ti2v":
        shown["first"] = condition
    else:
        shown["beside"] = beside_latent(condition, 4, task == "flf2v")
    if "condition" in arrays:
        made = np.asarray(shown.get("first", shown.get("beside")))
        theirs = arrays["condition"][None] if original else arrays["condition"]
        theirs = np.repeat(theirs, batch // len(theirs), axis=0)
        recorded.assert_close("condition", made, theirs, 1e-5)
    return shown


_EMBEDS = ("in/prompt_embeds", "in/negative_prompt_embeds")
