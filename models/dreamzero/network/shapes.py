"""Which shapes fit a configuration, and the errors that name those that do not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.checkpoints.layers import is_apart

from ...layers.stack import shape_of_one
from .config import DreamZeroConfig
from .kv_cache import KVCache


def require_shape(name: str, array: jax.Array, shape: tuple[int | None, ...]) -> None:
    """Checks a shape.

    Raises:
        ValueError: with the shape that there is and the one that there should be.
    """
    if jnp.shape(array) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {jnp.shape(array)}")


def start_frames(batch: int, start_frame: jax.Array | int) -> jax.Array:
    """The position of each sequence's first frame, int32 (1,) or (batch,).

    Raises:
        ValueError: for any other shape than () and (batch,).
    """
    start = jnp.atleast_1d(jnp.asarray(start_frame, jnp.int32))
    if start.shape not in ((1,), (batch,)):
        raise ValueError(
            f"start_frame must be a scalar or of shape ({batch},), got "
            f"{jnp.shape(start_frame)}"
        )
    return start


def check_image(config: DreamZeroConfig, image: jax.Array | None) -> jax.Array | None:
    """Checks image features: there exactly where the model has an image branch.

    Returns:
        The features, as they were given.

    Raises:
        ValueError: if they are missing, not wanted, or misshapen.
    """
    c = config
    if c.image_dim is None:
        if image is not None:
            raise ValueError(
                "this model has no image branch (config.image_dim is None), got "
                f"an image of shape {image.shape}"
            )
        return None
    if image is None:
        raise ValueError(
            "this model has an image branch: give image features of shape "
            f"(B, {c.image_len}, {c.image_dim})"
        )
    require_shape("image", image, (image.shape[0], c.image_len, c.image_dim))
    return image


def check_registers(
    config: DreamZeroConfig,
    batch: int,
    action: jax.Array | None,
    state: jax.Array | None,
    t_action: jax.Array | None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checks that actions, states and their timesteps are all there, and fit.

    Returns:
        The three, as they were given.

    Raises:
        ValueError: if they do not.
    """
    c = config
    if action is None or state is None or t_action is None:
        raise ValueError("action, state and t_action go together or not at all")
    require_shape("action", action, (batch, c.num_action_per_block, c.action_dim))
    require_shape("state", state, (batch, c.num_state_per_block, c.max_state_dim))
    require_shape("t_action", t_action, (batch,))
    return action, state, t_action


def token_grid(config: DreamZeroConfig, video: jax.Array) -> tuple[int, int, int]:
    """Tokens per frame, row and column, after checking the latent's shape."""
    c = config
    if video.ndim != 5 or video.shape[1] != c.out_dim or video.shape[2] < 1:
        raise ValueError(
            f"video must be (B, {c.out_dim}, frames, H, W), got {video.shape}"
        )
    _, _, frames, height, width = video.shape
    _, ph, pw = c.patch_size
    if height % ph or width % pw:
        raise ValueError(
            f"the latent's rows and columns must be multiples of {(ph, pw)}, got "
            f"{(height, width)}"
        )
    grid = (frames, height // ph, width // pw)
    if grid[1] * grid[2] != c.frame_seqlen:
        raise ValueError(
            f"a frame must have {c.frame_seqlen} tokens (config.frame_seqlen); a "
            f"latent of {height} x {width} has {grid[1]} x {grid[2]}"
        )
    if frames > c.window:
        raise ValueError(
            f"at most {c.window} frames go through at once (the window), got {frames}"
        )
    return grid


def with_condition(
    config: DreamZeroConfig, video: jax.Array, y: jax.Array | None
) -> jax.Array:
    """Puts ``y`` beside the video where the model was made for it.

    Raises:
        ValueError: if the model takes one, and it is missing or does not fit.
    """
    c = config
    if not c.concat_first_frame_latent:
        return video
    batch, _, *size = video.shape
    if y is None:
        raise ValueError(
            "this model takes a conditioning latent: give y of shape "
            f"{(batch, c.y_dim, *size)}"
        )
    require_shape("y", y, (batch, c.y_dim, *size))
    return jnp.concatenate([video, y.astype(video.dtype)], axis=1)


def check_cache(config: DreamZeroConfig, cache: KVCache, batch: int) -> None:
    """Checks that a cache is the model's, of so many sequences.

    Raises:
        ValueError: if it is not.
    """
    c = config
    shape = shape_of_one(cache.k)
    room = shape[1] // c.frame_seqlen if len(shape) == 4 else 0
    if room < 1 or room > c.window:
        raise ValueError(
            f"the cache must hold 1 to {c.window} frames of {c.frame_seqlen} "
            f"tokens, got keys of shape {shape} a layer"
        )
    one = (batch, room * c.frame_seqlen, c.num_heads, c.head_dim)
    require_layers("cache.k", cache.k, c.num_layers, one)
    require_layers("cache.v", cache.v, c.num_layers, one)
    require_shape("cache.length", cache.length, (batch,))
    require_shape("cache.broken", cache.broken, (batch, room))


def require_layers(name: str, given: Any, layers: int, shape: tuple[int, ...]) -> None:
    """Checks what there is of each layer, stacked or apart.

    Raises:
        ValueError: see `require_shape`.
    """
    if not is_apart(given):
        require_shape(name, given, (layers, *shape))
        return
    if len(given) != layers:
        raise ValueError(f"{name} must have {layers} layers, got {len(given)}")
    for i, one in enumerate(given):
        require_shape(f"{name}[{i}]", one, shape)
