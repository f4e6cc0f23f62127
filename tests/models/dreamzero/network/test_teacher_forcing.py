"""The training forward: what it sees, and what it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.dreamzero import (
    DreamZeroModel,
    KVCache,
    bind,
)
from jax_stepcache.models.dreamzero.network import teacher_forcing

from ..small import SMALL, random_weights
from ..training.sequences import BLOCKS, FRAMES, MODEL, random_chunks

ONE_LAYER = replace(SMALL, num_layers=1)


@given(
    frames_per_block=st.integers(1, 2),
    blocks=st.integers(1, 4),
    chunk=st.integers(1, 3),
    clean=st.booleans(),
)
def test_mask_says_what_the_rules_say(
    frames_per_block: int, blocks: int, chunk: int, clean: bool
) -> None:
    """Each token attends to what the original's rules name, and to nothing else."""
    config = replace(
        SMALL,
        frame_seqlen=1,
        patch_size=(1, 1, 1),
        num_frame_per_block=frames_per_block,
        num_action_per_block=2,
        max_chunk_size=chunk,
    )
    frames = 1 + blocks * frames_per_block

    def block_of(frame: int) -> int:
        return -1 if frame == 0 else (frame - 1) // frames_per_block

    video = [(frame, block_of(frame)) for frame in range(frames)]
    tokens = [("clean", *at) for at in video] if clean else []
    tokens += [("noisy", *at) for at in video]
    tokens += [("action", 0, block) for block in range(blocks) for _ in range(2)]
    tokens += [("state", 0, block) for block in range(blocks)]

    def sees(query: tuple, key: tuple) -> bool:
        (kind, _, block), (other, frame, at) = query, key
        window = 1 + (block + 1) * frames_per_block - config.window
        near = frame == 0 or frame >= window
        if kind == "state":
            return other == "state" and at == block
        if kind == "noisy" and block == -1:
            return other == "noisy" and at == -1
        if kind == "clean":
            return other == "clean" and at <= block and near
        if other in ("action", "state"):
            return at == block
        if other == "clean":
            return at < block
        return at == block if clean else at <= block and near

    expected = [[sees(query, key) for key in tokens] for query in tokens]
    mask = teacher_forcing.attention_mask(config, frames, teacher_forcing=clean)
    assert mask.tolist() == expected


def test_training_sees_what_sampling_sees() -> None:
    """With one layer, a block's velocities under the mask are those of a forward
    whose cache holds the clean frames before it. (With more, states differ: in
    sampling they attend to everything, as in the original.)"""
    config = ONE_LAYER
    weights = random_weights(config)
    chunks = random_chunks(DreamZeroModel(config, (4, 4)), 2)
    rng = np.random.default_rng(1)
    noisy = rng.standard_normal(chunks.video.shape, np.float32)
    action = rng.standard_normal(chunks.action.shape, np.float32)
    t_video = np.repeat([[900.0, 500.0, 300.0]], 2, 0).astype(np.float32)
    t_frames = np.repeat(t_video, [1, 2, 2], axis=1)
    t_action = np.repeat(t_video[:, 1:] / 2, config.num_action_per_block, axis=1)

    @jax.jit
    def trained() -> tuple[jax.Array, jax.Array]:
        model = bind(config, weights)
        return teacher_forcing.forward(
            model,
            jnp.asarray(noisy),
            jnp.asarray(action),
            jnp.asarray(chunks.state),
            jnp.asarray(t_frames),
            jnp.asarray(t_action),
            model.encode_context(jnp.asarray(chunks.text)),
            clean=jnp.asarray(chunks.video),
        )

    @jax.jit
    def sampled() -> list[tuple[jax.Array, jax.Array]]:
        model = bind(config, weights)
        context = model.encode_context(jnp.asarray(chunks.text))
        cache = KVCache.empty(config, 2)
        cache = model.prefill(jnp.asarray(chunks.video[:, :, :1]), context, cache)
        out = []
        for block in range(BLOCKS):
            frames = slice(1 + 2 * block, 3 + 2 * block)
            actions = slice(4 * block, 4 * block + 4)
            out.append(
                model(
                    jnp.asarray(noisy[:, :, frames]),
                    jnp.asarray(action[:, actions]),
                    jnp.asarray(chunks.state[:, block : block + 1]),
                    jnp.asarray(t_frames[:, 1 + 2 * block]),
                    jnp.asarray(t_action[:, 4 * block]),
                    context,
                    cache,
                )
            )
            clean = jnp.asarray(chunks.video[:, :, frames])
            cache = model.prefill(clean, context, cache)
        return out

    video, actions = trained()
    pieces = sampled()
    expected = np.concatenate([v for v, _ in pieces], axis=2)
    np.testing.assert_allclose(video[:, :, 1:], expected, atol=2e-5)
    expected = np.concatenate([a for _, a in pieces], axis=1)
    np.testing.assert_allclose(actions, expected, atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": np.zeros((2, 3, 4, 4, 4))}, "one frame and then whole blocks"),
        ({"action": np.zeros((2, 4, 2))}, r"action must have shape \(2, 8, 2\)"),
        ({"t_video": np.zeros((2,))}, r"t_video must have shape \(2, 5\)"),
    ],
)
def test_training_inputs_are_checked(changes: dict[str, Any], message: str) -> None:
    """Shapes that do not fit the configuration or one another are errors."""
    chunks = random_chunks(MODEL, 2)
    inputs = {
        "video": chunks.video,
        "action": chunks.action,
        "state": chunks.state,
        "t_video": np.zeros((2, FRAMES)),
        "t_action": np.zeros(chunks.action.shape[:2]),
    } | changes
    model = bind(SMALL, random_weights(SMALL))
    with pytest.raises(ValueError, match=message):
        teacher_forcing.forward(model, *inputs.values(), None)  # pyright: ignore
