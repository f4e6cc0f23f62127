"""The count of matrix products is the compiler's own."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from jax_stepcache.models.dreamzero import KVCache, bind, denoise, weight_shapes
from jax_stepcache.models.dreamzero.network.flops import count_flops
from jax_stepcache.models.dreamzero.network.stages import DreamZeroCondition

from ..small import I2V, SMALL, input_shapes

# Wide enough that matrix products outweigh all else.
_WIDE = {
    "dim": 384,
    "ffn_dim": 768,
    "num_heads": 2,
    "text_len": 40,
    "text_dim": 128,
    "freq_dim": 64,
    "hidden_size": 128,
    # XLA counts the body of a loop once.
    "unroll": SMALL.num_layers,
}


@pytest.mark.parametrize("config", [SMALL, I2V], ids=["ti2v", "i2v"])
@pytest.mark.usefixtures("full_compilation")
def test_flops_are_those_that_xla_counts(config):
    """One call within 3 % of XLA's count, which has the elementwise work in it."""
    config = replace(config, **_WIDE)
    struct = {
        n: jax.ShapeDtypeStruct(s, "float32")
        for n, s in input_shapes(config, 1).items()
    }
    weights = weight_shapes(config)
    context = jax.eval_shape(
        lambda w, x: bind(config, w).encode_context(x["text"], x.get("image")),
        weights,
        struct,
    )
    cache = jax.eval_shape(lambda: KVCache.empty(config, 1))

    def call(weights, x, context, cache):
        t = jnp.full(1, 500.0)
        condition = DreamZeroCondition(context, cache, x["state"], x.get("y"))
        sample = {"video": x["video"], "action": x["action"]}
        return denoise(config, weights, sample, {"video": t, "action": t}, condition)

    compiled = jax.jit(call).lower(weights, struct, context, cache).compile()
    counted = compiled.cost_analysis()["flops"]
    assert count_flops(config).call == pytest.approx(counted, rel=0.03)


def test_a_smaller_cache_costs_less():
    """Attention is over the slots that there are."""
    tokens = SMALL.num_frame_per_block * SMALL.frame_seqlen
    tokens += SMALL.num_action_per_block + SMALL.num_state_per_block
    saved = count_flops(SMALL).call - count_flops(SMALL, frames=1).call
    slots = (SMALL.window - 1) * SMALL.frame_seqlen
    assert saved == SMALL.num_layers * 2 * 2 * tokens * slots * SMALL.dim


@pytest.mark.usefixtures("full_compilation")
def test_a_prompt_costs_what_xla_counts():
    """Keys and values of the prompt; the loop over layers is counted once."""
    config = replace(I2V, **_WIDE, num_layers=1)
    inputs = input_shapes(config, 1)
    struct = [jax.ShapeDtypeStruct(inputs[n], "float32") for n in ("text", "image")]

    def encode(weights, text, image):
        return bind(config, weights).encode_context(text, image)

    compiled = jax.jit(encode).lower(weight_shapes(config), *struct).compile()
    counted = compiled.cost_analysis()["flops"]
    assert count_flops(config).prompt == pytest.approx(counted, rel=0.03)
