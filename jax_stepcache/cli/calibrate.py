"""``jax-stepcache calibrate``: which setting of a cache meets a target."""

from __future__ import annotations

import argparse

import jax

from jax_stepcache.calibration import calibrate
from jax_stepcache.network.registry import load_params


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    target = (
        {"psnr": parsed.psnr} if parsed.calls is None else {"model_calls": parsed.calls}
    )
    given = {
        "num_inference_steps": parsed.steps,
        "guidance_scale": parsed.guidance_scale,
    }
    found = calibrate(
        load_params(parsed.params),
        samples=parsed.samples,
        target=target,
        cache=parsed.cache,
        cache_config=parsed.cache_config,
        key=jax.random.key(parsed.seed),
        **{name: value for name, value in given.items() if value is not None},
    )
    print(found)
    if parsed.json:
        found.save(parsed.json)
