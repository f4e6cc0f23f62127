"""One forward of Wan's transformer gives the original's numbers, part by part."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.layers.prompt_attention import Context
from jax_stepcache.models.wan import WanConfig, bind
from jax_stepcache.models.wan.network.transformer import grid_of

from . import recorded_wan as recorded

# Absolute, float32.
OUT, BETWEEN = 2e-4, 3e-4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "fwd_*.npz")


def test_forward_is_the_originals(file: Path) -> None:
    """The velocity, and what lies on the way to it, are the originals'."""
    arrays, settings = recorded.load(file)
    config, weights = recorded.network(file.parent, settings["model"])
    image = arrays.get("in/encoder_hidden_states_image")
    if image is not None:
        image = image.reshape(len(arrays["out"]), -1, image.shape[-1])
    given = (
        arrays["in/hidden_states"],
        arrays["in/timestep"].astype(np.float32),
        arrays["in/encoder_hidden_states"],
        image,
    )
    made = recorded.highest(partial(_forward, config))(weights, *given)
    compared = 0
    for name, theirs in arrays.items():
        if name.startswith("in/"):
            continue
        at = "out" if name == "out_original" else name
        if at in made:
            most = OUT if at == "out" else BETWEEN
            recorded.assert_close(name, made[at], theirs, most)
            compared += 1
    assert compared > 6


@partial(jax.jit, static_argnums=0)
def _forward(
    config: WanConfig,
    weights: Any,
    latent: jax.Array,
    t: jax.Array,
    text: jax.Array,
    image: jax.Array | None,
) -> dict[str, jax.Array]:
    network = bind(config, weights)
    grid = grid_of(config, latent.shape)
    timed = network.embed_times(t[:, None] if t.ndim == 1 else t)
    context: Context = network.encode_prompt(text, image)
    tokens = network.embed(latent)
    made = {
        "mid/patch": jnp.moveaxis(tokens, 2, 1).reshape(len(tokens), -1, *grid),
        "mid/temb": _flat(timed.embedding, t),
        "mid/timestep_proj": _flat(timed.modulation, t),
        "mid/text": network.text_embedding(text),
        "mid/block0_modulated": network.modulated(tokens, timed, grid),
        "out": network(latent, t, context),
    }
    if image is not None and network.img_emb is not None:
        made["mid/image"] = network.img_emb(image)
    for i in range(config.num_layers):
        tokens = network.run_blocks(tokens, timed, context, grid, i, i + 1)
        made[f"mid/block{i}"] = tokens
    return made


def _flat(rows: jax.Array, t: jax.Array) -> jax.Array:
    """One row a sample where that is how time was given; modulations side by side."""
    rows = rows.reshape(*rows.shape[:2], -1)
    return rows[:, 0] if t.ndim == 1 else rows
