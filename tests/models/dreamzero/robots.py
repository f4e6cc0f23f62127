"""A DreamZero with every input there is, small, and robots that it steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache import Params
from jax_stepcache.models.dreamzero import DreamZeroModel, DreamZeroPipeline, Session

from .small import SMALL, random_weights

CONFIG = replace(
    SMALL,
    model_type="i2v",
    in_dim=8,
    concat_first_frame_latent=True,
    image_dim=6,
    image_len=3,
)
MODEL = DreamZeroModel(CONFIG, (4, 4))
PARAMS = Params(jax.tree.map(jnp.asarray, random_weights(CONFIG)), MODEL)


def pipeline(**options: Any) -> DreamZeroPipeline:
    """A pipeline without a cache, guided, unless told otherwise."""
    return DreamZeroPipeline(PARAMS, **{"cache_backend": "none"} | options)


def prompts(batch: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """Encoded prompts and negative prompts."""
    rng = np.random.default_rng(seed)
    shape = (batch, CONFIG.text_len, CONFIG.text_dim)
    return tuple(jnp.asarray(rng.standard_normal(shape, np.float32)) for _ in range(2))


def observation(batch: int, seed: int) -> dict[str, np.ndarray]:
    """All that a robot may be shown, whether or not it begins a window."""
    rng = np.random.default_rng(seed)
    shapes = {
        "latents": (batch, CONFIG.out_dim, CONFIG.num_frame_per_block, 4, 4),
        "state": (batch, CONFIG.num_state_per_block, CONFIG.max_state_dim),
        "image": (batch, CONFIG.image_len, CONFIG.image_dim),
        "y": (batch, CONFIG.y_dim, CONFIG.window, 4, 4),
    }
    return {k: rng.standard_normal(s, np.float32) for k, s in shapes.items()}


def robot(shown: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    """What one robot of a batch is shown."""
    return {name: x[i : i + 1] for name, x in shown.items()}


def walk(pipe: DreamZeroPipeline, session: Session, seeds: list[int]) -> Session:
    """Takes a step for each seed."""
    for seed in seeds:
        session = pipe(session, observation(session.batch, seed)).session
    return session


def copied(tree: Any) -> Any:
    """Arrays of their own, for comparing with what is stepped on."""
    return jax.tree.map(np.array, tree)


def assert_same_bits(a: Any, b: Any) -> None:
    """Structure, dtypes and every bit."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
