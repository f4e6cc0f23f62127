"""The transformer as a denoiser: weights, sample, timesteps and condition."""

from __future__ import annotations

from typing import NamedTuple

import jax

from .attention import Context
from .config import DreamZeroConfig
from .kv_cache import KVCache
from .parameters import Weights, bind


class DreamZeroCondition(NamedTuple):
    """What a sample is denoised under; every leaf has B rows.

    Attributes:
        context: keys and values of the prompt.
        cache: keys and values of the frames before.
        state: (B, num_state_per_block, max_state_dim) robot state.
        y: (B, y_dim, f, H, W) conditioning latent, or None where the model takes
            none.
    """

    context: Context
    cache: KVCache
    state: jax.Array
    y: jax.Array | None = None


def denoise(
    config: DreamZeroConfig,
    weights: Weights,
    sample: dict[str, jax.Array],
    t: dict[str, jax.Array],
    condition: DreamZeroCondition,
) -> dict[str, jax.Array]:
    """Predicts the velocity (noise - data) of a noisy sample.

    Args:
        config: the model's.
        weights: the model's, as from `init_weights`.
        sample: ``"video"`` (B, out_dim, f, H, W) and ``"action"`` (B, A,
            action_dim) float32.
        t: timesteps of ``"video"`` and ``"action"``, (B,) float32 in [0, 1000].
        condition: what the sample is denoised under.

    Returns:
        Velocities with the structure of ``sample``, float32.

    Raises:
        ValueError: for shapes that do not fit the configuration.
    """
    video, action = bind(config, weights)(
        sample["video"],
        sample["action"],
        condition.state,
        t["video"],
        t["action"],
        condition.context,
        condition.cache,
        y=condition.y,
    )
    return {"video": video, "action": action}
