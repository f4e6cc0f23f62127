"""The forward for training: all blocks of a sequence at once, under a mask.

Sampling sees a block of frames after those before it have been observed. Training
gets the same from one pass over [clean video | noisy video | actions | states], where
a noisy block attends to the clean frames before it and not to the noisy ones.
"""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...layers.prompt_attention import Context
from ...layers.rotary import rotation
from ...layers.spread import ALONE, Spread
from ...layers.stack import run_stack
from ...layers.window_attention import Seen
from . import positions
from .config import DreamZeroConfig
from .tokens import Embedded
from .transformer import CausalWanModel


def forward(
    model: CausalWanModel,
    video: jax.Array,
    action: jax.Array,
    state: jax.Array,
    t_video: jax.Array,
    t_action: jax.Array,
    context: Context,
    *,
    clean: jax.Array | None = None,
    y: jax.Array | None = None,
    remat: bool = False,
    spread: Spread = ALONE,
) -> tuple[jax.Array, jax.Array]:
    """Predicts the velocities of all blocks of a sequence.

    Args:
        model: the transformer.
        video: (B, out_dim, f, H, W) noisy latents; the first frame, then whole blocks.
        action: (B, blocks * num_action_per_block, action_dim) noisy actions.
        state: (B, blocks * num_state_per_block, max_state_dim) robot states.
        t_video: (B, f) timesteps in [0, 1000]; one for the frames of a block.
        t_action: (B, actions) timesteps.
        context: of the prompt.
        clean: like ``video``, free of noise: teacher forcing. None lets each block
            see the noisy blocks before it.
        y: (B, y_dim, f, H, W) conditioning latent where the model takes one.
        remat: computes each block anew for the gradient instead of keeping it.
        spread: how weights and batch are spread over devices; not at all unless given.

    Returns:
        Velocities like ``video`` and ``action``, float32. Nothing trains the first
        frame's: it sees only itself, as where it is prefilled.

    Raises:
        ValueError: for shapes that do not fit the configuration or one another.
    """
    c = model.config
    grid, blocks = _check(c, video, action, state, t_video, t_action, clean)
    frames = grid[0]
    tokens = frames * c.frame_seqlen

    x = model.embed_video(video, y)
    registers = model.embed_registers(action, state, t_action)
    per_state = c.num_action_per_block // c.num_state_per_block
    t = [t_video, t_action, t_action[:, ::per_state]]
    spans = [(frames, c.frame_seqlen), (action.shape[1] + state.shape[1], 1)]
    x = jnp.concatenate([x, registers], axis=1)
    zero = jnp.zeros(1, jnp.int32)
    video_angles = positions.video_angles(c, zero, grid)
    first_frames = 1 + np.arange(blocks) * c.num_frame_per_block
    register_angles = positions.register_angles(c, jnp.asarray(first_frames, jnp.int32))
    actions, states = jnp.split(register_angles, [c.num_action_per_block], axis=1)
    angles = [video_angles, _flat(actions), _flat(states)]
    hidden = 0
    if clean is not None:
        x = jnp.concatenate([model.embed_video(clean, y), x], axis=1)
        angles.insert(0, video_angles)
        t.insert(0, jnp.zeros_like(t_video[:, :1]))
        spans.insert(0, (1, tokens))
        hidden = tokens
    e, modulation = model.embed_time(jnp.concatenate(t, axis=1))
    turned = rotation(jnp.concatenate(angles, axis=1))
    embedded = Embedded(x, e, modulation, turned, grid, tuple(spans))
    mask = jnp.asarray(attention_mask(c, frames, teacher_forcing=clean is not None))
    seen = Seen(mask[None, None])

    graph, layers = nnx.split(model.blocks)

    def layer(x, per_layer):
        weights, layer_context = per_layer
        x, _ = nnx.merge(graph, spread.gather(weights))(
            spread.pin(x),
            spread.pin(embedded.modulation),
            embedded.rotation,
            spread.pin(layer_context),
            None,
            seen,
            spans=embedded.spans,
        )
        return x, None

    if remat:
        layer = jax.checkpoint(layer)
    x, _ = run_stack(layer, x, (layers, context), unroll=c.unroll)
    x = spread.pin(x)
    # Clean frames are there to be seen; nothing is read off them.
    x = x[:, hidden:]
    rows = 0 if clean is None else 1
    per_frame = e[:, rows : rows + frames]
    return model.decode_video(embedded, x, per_frame), model.decode_action(embedded, x)


@lru_cache(maxsize=32)
def attention_mask(
    config: DreamZeroConfig, frames: int, *, teacher_forcing: bool
) -> np.ndarray:
    """Which token attends to which, in a sequence of whole blocks.

    Args:
        config: the model's.
        frames: latent frames: the first, then whole blocks.
        teacher_forcing: whether clean frames stand before the noisy ones.

    Returns:
        (tokens, tokens) bool, queries down, keys across; the tokens are [clean video,]
        noisy video, actions, states. A query of a block sees the whole block.
    """
    blocks = (frames - 1) // config.num_frame_per_block
    frame = np.repeat(np.arange(frames), config.frame_seqlen)
    # The first frame is block -1.
    video_block = (frame - 1) // config.num_frame_per_block
    action_block = np.repeat(np.arange(blocks), config.num_action_per_block)
    state_block = np.repeat(np.arange(blocks), config.num_state_per_block)

    kinds = [(_NOISY, video_block), (_ACTION, action_block), (_STATE, state_block)]
    if teacher_forcing:
        kinds.insert(0, (_CLEAN, video_block))
    kind = np.concatenate([np.full(len(of), name) for name, of in kinds])
    block = np.concatenate([of for _, of in kinds])
    frame = np.concatenate([frame] * (2 if teacher_forcing else 1))
    frame = np.pad(frame, (0, len(kind) - len(frame)))

    query, key = kind[:, None], kind[None, :]
    query_block, key_block = block[:, None], block[None, :]
    same, first = query_block == key_block, key_block < 0
    # A window counts back from the end of the query's block; the first frame stays.
    end = 1 + (query_block + 1) * config.num_frame_per_block
    near = first | (frame[None, :] >= end - config.window)
    denoised = (query == _NOISY) & (query_block >= 0) | (query == _ACTION)

    seen = (query == _STATE) & (key == _STATE) & same
    seen |= (query == _NOISY) & (query_block < 0) & (key == _NOISY) & same
    seen |= (query == _CLEAN) & (key == _CLEAN) & (key_block <= query_block) & near
    seen |= denoised & ((key == _ACTION) | (key == _STATE)) & same
    if teacher_forcing:
        seen |= denoised & (key == _CLEAN) & (key_block < query_block)
        seen |= denoised & (key == _NOISY) & same
    else:
        seen |= denoised & (key == _NOISY) & (key_block <= query_block) & near
    return seen


_CLEAN, _NOISY, _ACTION, _STATE = range(4)


def _flat(angles: jax.Array) -> jax.Array:
    """(blocks, tokens of a block, ...) to one sequence of batch 1."""
    return angles.reshape(1, -1, angles.shape[-1])


def _check(
    config: DreamZeroConfig,
    video: jax.Array,
    action: jax.Array,
    state: jax.Array,
    t_video: jax.Array,
    t_action: jax.Array,
    clean: jax.Array | None,
) -> tuple[tuple[int, int, int], int]:
    """The grid of tokens and the number of blocks, after checking the shapes."""
    batch, frames = video.shape[0], video.shape[2] if video.ndim == 5 else 0
    blocks, rest = divmod(frames - 1, config.num_frame_per_block)
    if blocks < 1 or rest:
        raise ValueError(
            "a training sequence has one frame and then whole blocks of "
            f"{config.num_frame_per_block}; got video of shape {video.shape}"
        )
    actions = blocks * config.num_action_per_block
    states = blocks * config.num_state_per_block
    wanted = {
        "action": (action, (batch, actions, config.action_dim)),
        "state": (state, (batch, states, config.max_state_dim)),
        "t_video": (t_video, (batch, frames)),
        "t_action": (t_action, (batch, actions)),
    }
    if clean is not None:
        wanted["clean"] = (clean, video.shape)
    for name, (array, shape) in wanted.items():
        if jnp.shape(array) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {jnp.shape(array)}")
    _, rows, cols = config.patch_size
    return (frames, video.shape[3] // rows, video.shape[4] // cols), blocks
