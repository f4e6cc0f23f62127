"""This library's control step of DreamZero."""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import contract
import jax
import numpy as np
import robot_contract

from jax_stepcache import Params
from jax_stepcache.models.dreamzero import (
    DreamZeroConfig,
    DreamZeroModel,
    DreamZeroPipeline,
    import_state_dict,
)

CONFIG = DreamZeroConfig(
    **robot_contract.SIZES, concat_first_frame_latent=False, image_dim=None
)
CACHES: dict[str, dict[str, Any]] = {
    "step": {"cache_backend": "none"},
    "step_cache": {
        "cache_backend": "step_cache",
        "cache_config": {
            "velocity_sim_thresholds": (-1.0,),
            "velocity_skip_countdowns": (robot_contract.COUNTDOWN,),
        },
    },
}


def contenders(
    given: robot_contract.Given,
) -> Mapping[str, Callable[[], contract.Contender]]:
    """The second step of a session, uncached and with StepCache."""
    model = DreamZeroModel(CONFIG, latent_size=robot_contract.LATENT)
    weights = jax.device_put(import_state_dict(CONFIG, given.weights))
    noise = {"video": given.video, "action": given.action}
    options = {
        "num_inference_steps": robot_contract.NUM_STEPS,
        "shift": robot_contract.SHIFT,
    }

    def stepping(settings: dict[str, Any]) -> contract.Contender:
        pipeline = DreamZeroPipeline(
            Params(weights, model),
            guidance_scale=robot_contract.GUIDANCE,
            **settings,
        )
        session = pipeline.start(given.text, given.negative)
        shown = {"first": given.first, "state": given.state}
        session = pipeline(session, shown, noise=noise, **options).session
        seen = {"latents": given.latents, "state": given.state}
        made: list[Any] = []

        def run() -> np.ndarray:
            # Not donated, so that the same step can be taken again.
            step = pipeline(session, seen, noise=noise, donate=False, **options)
            made[:] = [step.stats.model_calls]
            return robot_contract.answer(
                np.asarray(step.video), np.asarray(step.action)
            )

        return contract.Contender(run, lambda: int(made[0]))

    return {
        name: lambda settings=settings: stepping(settings)
        for name, settings in CACHES.items()
    }


if __name__ == "__main__":
    contract.main(
        contenders,
        lambda: {"jax": jax.__version__, "flax": version("flax")},
        robot_contract.read_given,
    )
