"""One forward of FLUX's transformer gives the originals' numbers, part by part."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache.models.flux import FluxConfig, Prompt, bind
from jax_stepcache.models.flux.network.attention import EPS
from jax_stepcache.models.flux.network.packing import grid_of, packed
from jax_stepcache.models.flux.network.streams import Streams, ids, rotation_of
from jax_stepcache.models.flux.times import guidance_told, told
from jax_stepcache.models.layers.modulation import modulate, modulations
from jax_stepcache.models.layers.stack import block_of

from . import recorded_flux as recorded
from .recorded_wan import assert_close, highest

# Absolute, float32.
MOST = 1e-4


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "fwd_*.npz")


def test_forward_is_the_originals(file: Path) -> None:
    """The velocity, and what lies on the way to it, in diffusers and the original."""
    arrays, settings = recorded.load(file)
    config, weights = recorded.network(file.parent, settings["model"])
    latent, text = arrays["in/latents_unpacked"], arrays["in/encoder_hidden_states"]
    np.testing.assert_array_equal(packed(latent), arrays["in/hidden_states"])
    grid, length = grid_of(latent.shape), text.shape[1]
    both = np.concatenate([arrays["in/txt_ids"], arrays["in/img_ids"]])
    np.testing.assert_array_equal(ids(grid, length), both)
    rotation = rotation_of(config, grid, length)
    for ours, theirs in zip(rotation, ("cos", "sin"), strict=True):
        assert_close(theirs, np.repeat(ours[0], 2, -1), arrays[f"rope/{theirs}"], 1e-6)
    last = config.num_layers - 1
    made = highest(partial(_forward, config))(
        weights,
        latent,
        arrays["in/timestep"].astype(np.float32),
        Prompt(text, arrays["in/pooled_projections"]),
        arrays.get("in/guidance"),
        Streams(*(arrays[f"mid/block{last}_{name}"] for name in ("img", "txt"))),
        arrays[f"mid/single{config.num_single_layers - 1}_img"],
    )
    compared = [name for name in arrays if not name.startswith(("in/", "rope/"))]
    for name in compared:
        at = "out" if name == "out_original" else name
        assert_close(name, made[at], arrays[name], MOST)
    assert len(compared) > 10


@partial(jax.jit, static_argnums=0)
def _forward(
    config: FluxConfig,
    weights: Any,
    latent: jax.Array,
    t: jax.Array,
    prompt: Prompt,
    scale: jax.Array | None,
    doubled: Streams,
    left: jax.Array,
) -> dict[str, jax.Array]:
    network = bind(config, weights)
    times = told(1000 * t, jnp.float32)
    guidance = None if scale is None else guidance_told(scale, jnp.float32)
    tokens, stage = network.embed(latent, times, prompt, guidance)
    made = {
        "mid/x_embedder": tokens.image,
        "mid/context_embedder": tokens.text,
        "mid/temb": stage.temb,
        "mid/block0_norm1": network.modulated(tokens, stage),
        "out": packed(network(latent, times, prompt, guidance)),
    }
    for i in range(config.num_blocks):
        before = tokens
        tokens, attended = network.run_blocks(tokens, stage, i, i + 1)
        single = i - config.num_layers
        name = f"block{i}" if single < 0 else f"single{single}"
        made |= _named(f"mid/{name}", tokens)
        if i == 0:
            both = attended.double
            made |= {"mid/block0_attn_img": both.image[0]}
            made |= {"mid/block0_attn_txt": both.text[0]}
            made |= _in_double(network, before, stage, attended)
        if single == 0:
            made |= {"mid/single0_attn": attended.single[0]}
    # Where the original stood: a normalisation makes what is off before it larger.
    first = _first_of(network.single).modulation
    made["mid/single0_norm"] = _normed(first, doubled.joined(), stage, 0)
    made["mid/norm_out"] = _normed(network.modulation, left, stage, 0)
    return made


def _first_of(blocks: Any) -> Any:
    graph, layers = nnx.split(blocks)
    return nnx.merge(graph, block_of(layers, 0))


def _normed(modulation: Any, x: jax.Array, stage: Any, first: int) -> jax.Array:
    """A stream, normalised with the shift and scale from such a place on."""
    shift, scale = modulations(modulation, stage.temb)[first : first + 2]
    return modulate(x, shift, scale, EPS)


def _in_double(
    network: Any, before: Streams, stage: Any, attended: Any
) -> dict[str, jax.Array]:
    """What the first double block feeds its attention and says in its feed-forwards."""
    block, made = _first_of(network.double), {}
    for name, suffix in (("image", ""), ("text", "_context")):
        one, x = getattr(block, name), getattr(before, name)
        gate = modulations(one.modulation, stage.temb)[2]
        made[f"mid/block0_norm1{suffix}"] = _normed(one.modulation, x, stage, 0)
        x = x + gate * getattr(attended.double, name)[0]
        said = one.mlp(_normed(one.modulation, x, stage, 3))
        made[f"mid/block0_ff{suffix}"] = said
    return made


def _named(name: str, tokens: Streams) -> dict[str, jax.Array]:
    return {f"{name}_img": tokens.image, f"{name}_txt": tokens.text}
