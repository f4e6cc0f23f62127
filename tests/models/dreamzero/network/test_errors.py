"""Input that does not fit is refused before anything is compiled, with a reason."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from jax_stepcache.models.dreamzero import DreamZeroConfig, KVCache, bind, weight_shapes

from ..small import I2V, SMALL, inputs, prefill, random_cache, random_weights


def _predict(config, changed):
    """Traces a forward; nothing is compiled or run."""
    given = inputs(config, 1) | changed
    given = {name: value for name, value in given.items() if value is not None}

    def forward(weights, given):
        model = bind(config, weights)
        context = model.encode_context(given["text"], given.get("image"))
        t = jnp.full(1, 500.0)
        return model(
            given["video"],
            given.get("action"),
            given["state"],
            t,
            given.get("t_action", t),
            context,
            given.get("cache", random_cache(config, [1])),
            y=given.get("y"),
            start_frame=given.get("start_frame", 1),
        )

    jax.eval_shape(forward, weight_shapes(config), given)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"video": jnp.zeros((1, 5, 2, 4, 4))}, r"\(B, 3, frames, H, W\)"),
        ({"video": jnp.zeros((3, 2, 4, 4))}, r"\(B, 3, frames, H, W\)"),
        ({"video": jnp.zeros((1, 3, 2, 4, 8))}, "must have 4 tokens.*2 x 4"),
        ({"video": jnp.zeros((1, 3, 2, 3, 4))}, "multiples of"),
        ({"video": jnp.zeros((1, 3, 6, 4, 4))}, "at most 5 frames"),
        ({"action": jnp.zeros((1, 4, 3))}, r"action must have shape \(1, 4, 2\)"),
        ({"action": None}, "go together"),
        ({"state": jnp.zeros((1, 1, 2))}, r"state must have shape \(1, 1, 3\)"),
        ({"t_action": jnp.zeros((1, 4))}, r"t_action must have shape \(1,\)"),
        ({"text": jnp.zeros((1, 4, 5))}, r"text must have shape \(1, 3, 5\)"),
        ({"text": jnp.zeros((2, 3, 5))}, r"context.text.k must have shape"),
        ({"start_frame": jnp.zeros(3, int)}, "start_frame must be a scalar"),
        ({"cache": random_cache(SMALL, [1, 1])}, "cache.k must have shape"),
        ({"cache": KVCache.empty(replace(SMALL, frame_seqlen=3), 1)}, "cache"),
        ({"image": jnp.zeros((1, 5, 6))}, "no image branch"),
    ],
)
def test_input_that_does_not_fit(changed, message):
    with pytest.raises(ValueError, match=message):
        _predict(SMALL, changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y": None}, r"conditioning latent: give y of shape \(1, 4, 2, 4, 4\)"),
        ({"y": jnp.zeros((1, 4, 1, 4, 4))}, "y must have shape"),
        ({"image": None}, r"image branch: give image features of shape \(B, 5, 6\)"),
        ({"image": jnp.zeros((1, 4, 6))}, "image must have shape"),
    ],
)
def test_condition_that_i2v_lacks(changed, message):
    with pytest.raises(ValueError, match=message):
        _predict(I2V, changed)


def test_prefill_of_more_frames_than_fit():
    cache = KVCache.empty(SMALL, 1, frames=1)
    with pytest.raises(ValueError, match="room for 1 frames, got 2"):
        jax.eval_shape(
            lambda *args: prefill(SMALL, *args),
            *(weight_shapes(SMALL), inputs(SMALL, 1), cache),
        )


@pytest.mark.parametrize("frames", [0, 6])
def test_cache_of_impossible_size(frames):
    with pytest.raises(ValueError, match=r"1 to 5 frames \(the window\)"):
        KVCache.empty(SMALL, 1, frames=frames)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "i3v"}, "Did you mean 'i2v'"),
        ({"dim": 25}, "num_heads must divide dim"),
        ({"dim": 8, "num_heads": 2}, "at least 6 channels"),
        ({"num_layers": 0}, "num_layers must be an integer >= 1, got 0"),
        ({"ffn_dim": 3.5}, "ffn_dim must be an integer"),
        ({"freq_dim": 15}, "freq_dim must be even"),
        ({"patch_size": (2, 2, 2)}, r"patch_size must be \(1, rows, cols\)"),
        ({"in_dim": 4}, "in_dim must equal out_dim"),
        ({"concat_first_frame_latent": True}, "in_dim must exceed out_dim"),
        ({"num_state_per_block": 3}, "must divide num_action_per_block"),
        ({"dtype": "int8"}, "dtype must be"),
        ({"max_chunk_size": -1}, "max_chunk_size must be an integer >= 1"),
    ],
)
def test_configuration_that_cannot_run(changed, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changed)


def test_options_of_the_original_are_read():
    """Options without effect are passed over; the rest must be known."""
    options = {"dim": 256, "num_heads": 2, "patch_size": [1, 2, 2], "num_registers": 8}
    config = DreamZeroConfig.from_dict(options | {"qk_norm": True})
    assert (config.dim, config.patch_size) == (256, (1, 2, 2))
    assert DreamZeroConfig.from_dict(
        {"model_type": "t2v", "in_dim": 16, "concat_first_frame_latent": False}
    ) == DreamZeroConfig(
        model_type="t2v", in_dim=16, concat_first_frame_latent=False, image_dim=None
    )
    with pytest.raises(ValueError, match="Did you mean 'num_heads'"):
        DreamZeroConfig.from_dict({"num_head": 2})
    with pytest.raises(ValueError, match="qk_norm must be True"):
        DreamZeroConfig.from_dict({"qk_norm": False})


def test_weights_that_do_not_fit():
    """All faults are named at once."""
    weights = random_weights(SMALL)
    weights["head"] = weights["head"] | {"modulation": jnp.zeros((3, 24)), "gate": 1}
    del weights["patch_embedding"]["bias"]
    with pytest.raises(ValueError, match="do not fit") as error:
        bind(SMALL, weights)
    for fault in (
        "missing patch_embedding.bias",
        "unknown head.gate",
        "head.modulation has shape (3, 24), not (2, 24)",
    ):
        assert fault in str(error.value)
