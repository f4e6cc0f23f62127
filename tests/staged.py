"""A small network in stages, of one's own, and the settings of each cache for it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import StagedDenoiser, sample

NUM_STEPS, NUM_BLOCKS = 8, 3
_TOKENS, _CHANNELS, _DIM = 4, 3, 8
ON_PURPOSE = pytest.mark.filterwarnings("ignore:.* will skip no step of")
RATIOS = [1.0, 0.9, 1.1, 0.95, 1.05, 0.9, 1.1, 1.2]

# Of each cache: settings that skip some steps, and those that skip none, on purpose:
# of which a test that runs these is quiet with `ON_PURPOSE`.
SKIPPING: dict[str, dict[str, Any]] = {
    "tea_cache": {"rel_l1_thresh": 0.35},
    "cache_dit": {"residual_diff_threshold": 0.3, "max_warmup_steps": 2},
    "db_prune": {"residual_diff_threshold": 0.5, "max_warmup_steps": 2},
    "mag_cache": {"mag_ratios": RATIOS},
    "sea_cache": {"sea_threshold": 0.6},
    "first_block_cache": {"threshold": 0.2},
    "taylor_seer": {"cache_interval": 3},
    "di_cache": {"rel_l1_thresh": 0.4},
}
COMPUTING: dict[str, dict[str, Any]] = {
    "tea_cache": {"rel_l1_thresh": 1e-9},
    "cache_dit": {"residual_diff_threshold": 0.0, "max_warmup_steps": 2},
    "db_prune": {"residual_diff_threshold": 0.0, "max_warmup_steps": 2},
    "mag_cache": {"mag_ratios": RATIOS, "mag_threshold": 0.0},
    "sea_cache": {"sea_threshold": 0.0},
    "first_block_cache": {"threshold": 0.0},
    "taylor_seer": {"cache_interval": 1},
    "di_cache": {"rel_l1_thresh": 0.0},
}


class Traced:
    """Counts how often Python goes through the network's first stage."""

    def __init__(self) -> None:
        self.traces = 0

    def embed(self, weights: Any, x: Any, t: Any, condition: Any) -> Any:
        self.traces += 1
        time = (t / 1000)[:, None, None].astype(x.dtype) * weights["time"]
        return x @ weights["in"] + condition[:, None], time


def _block(h: jax.Array, w: jax.Array, time: jax.Array) -> jax.Array:
    return h + 0.5 * jnp.tanh((h + time) @ w)


def _unrolled(weights: Any, h: Any, time: Any, start: int, stop: int) -> Any:
    for layer in range(start, stop):
        h = _block(h, weights["blocks"][layer], time)
    return h


def _scanned(weights: Any, h: Any, time: Any, start: int, stop: int) -> Any:
    def block(h: jax.Array, w: jax.Array) -> tuple[jax.Array, None]:
        return _block(h, w, time), None

    return jax.lax.scan(block, h, weights["blocks"][start:stop])[0]


def _head(weights: Any, h: Any, time: Any) -> Any:
    del time
    return h @ weights["out"]


def _modulated(weights: Any, h: Any, time: Any) -> Any:
    del weights
    return h + time


TRACED = Traced()
# One object for all tests: another one would be another program.
UNROLLED = StagedDenoiser(NUM_BLOCKS, TRACED.embed, _unrolled, _head, _modulated)
SCANNED = StagedDenoiser(NUM_BLOCKS, Traced().embed, _scanned, _head, _modulated)


def weights(num_blocks: int = NUM_BLOCKS) -> dict[str, jax.Array]:
    """Its weights, always the same."""
    draw = np.random.default_rng(3).normal
    shapes = {
        "in": (_CHANNELS, _DIM),
        "time": (_DIM,),
        "blocks": (num_blocks, _DIM, _DIM),
        "out": (_DIM, _CHANNELS),
    }
    return {
        name: jnp.asarray(draw(size=s), jnp.float32) / 2 for name, s in shapes.items()
    }


WEIGHTS = weights()


def conditions(batch: int = 2) -> tuple[jax.Array, jax.Array]:
    """The conditional rows, and the unconditional ones."""
    draw = np.random.default_rng(4).normal
    both = jnp.asarray(draw(size=(2, batch, _DIM)), jnp.float32)
    return both[0], 3 * both[1]


def noise(batch: int = 2) -> jax.Array:
    draw = np.random.default_rng(5).normal
    return jnp.asarray(draw(size=(batch, _TOKENS, _CHANNELS)), jnp.float32)


def options(guided: bool = False) -> dict[str, Any]:
    """What `sample` and `Pipeline` need to know besides the cache."""
    conditional, unconditional = conditions()
    shared = {
        "noise": noise(),
        "condition": conditional,
        "num_inference_steps": NUM_STEPS,
        "solver": "euler",
    }
    if not guided:
        return shared
    return shared | {"negative_condition": unconditional, "guidance_scale": 2.0}


def run(
    cache: Any = None,
    cache_config: Any = None,
    guided: bool = False,
    model: Any = UNROLLED,
    **more: Any,
) -> Any:
    """Samples the network."""
    return sample(
        WEIGHTS,
        model=model,
        cache=cache,
        cache_config=cache_config,
        **(options(guided) | more),
    )
