"""This library's rows."""

# pyright: reportMissingImports=false
# The folder models/ is installed as jax_stepcache.models, where pyright does not look.

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import contract
import jax
import numpy as np

from jax_stepcache import Params, explicit_schedule, sample
from jax_stepcache.models.dit import DiTConfig, DiTModel, import_state_dict

CONFIG = DiTConfig(
    input_size=contract.GRID * contract.PATCH,
    patch_size=contract.PATCH,
    in_channels=contract.CHANNELS,
    hidden_size=contract.DIM,
    depth=contract.DEPTH,
    num_heads=contract.HEADS,
    num_classes=contract.CLASSES,
    learn_sigma=False,
)
CACHES: dict[str, dict[str, Any]] = {
    "uncached": {},
    "step_cache": {
        "cache": "step_cache",
        "cache_config": {
            "velocity_sim_thresholds": [-1.0],
            "velocity_skip_countdowns": [contract.COUNTDOWN],
        },
    },
    "db_cache": {
        "cache": "cache_dit",
        "cache_config": {
            "Fn_compute_blocks": contract.FIRST_BLOCKS,
            "max_warmup_steps": contract.WARMUP,
            "max_continuous_cached_steps": contract.IN_A_ROW,
            "residual_diff_threshold": contract.ANY_DIFFERENCE,
        },
    },
    "first_block": {
        "cache": "first_block_cache",
        "cache_config": {"threshold": contract.ANY_DIFFERENCE},
    },
    "taylor_seer": {
        "cache": "taylor_seer",
        "cache_config": {
            "cache_interval": contract.INTERVAL,
            "disable_cache_before_step": contract.BEFORE,
            "max_order": contract.ORDER,
        },
    },
}


def contenders(
    given: contract.Given,
) -> Mapping[str, Callable[[], contract.Contender]]:
    """A bare call of the network under `jax.jit`, and samples."""
    model = DiTModel(CONFIG)
    weights = jax.device_put(import_state_dict(CONFIG, given.weights))
    label, noise = np.array([contract.LABEL]), jax.device_put(given.noise)
    schedule = explicit_schedule(
        tuple(given.sigmas.tolist()), timesteps=tuple(given.timesteps.tolist())
    )

    def call() -> contract.Contender:
        bare = jax.jit(model.denoise)
        t = jax.device_put(given.timesteps[:1])
        return contract.Contender(
            lambda: np.asarray(bare(weights, noise, t, label)), lambda: 1
        )

    def cached(options: dict[str, Any]) -> contract.Contender:
        made: list[Any] = []

        def run() -> np.ndarray:
            result = sample(
                Params(weights, model),
                condition=label,
                noise=noise,
                schedule=schedule,
                solver="euler",
                guidance_scale=1.0,
                **options,
            )
            made[:] = [result.stats.model_calls]
            return np.asarray(result.sample)

        return contract.Contender(run, lambda: int(made[0]))

    samples = {
        name: lambda options=options: cached(options)
        for name, options in CACHES.items()
    }
    return {"call": call, **samples}


if __name__ == "__main__":
    contract.main(contenders, lambda: {"jax": jax.__version__, "flax": version("flax")})
