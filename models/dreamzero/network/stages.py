"""The transformer as a denoiser: weights, sample, timesteps and condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax

from ...layers.prompt_attention import Context
from ...sizes.parameters import Weights
from .config import DreamZeroConfig
from .kv_cache import KVCache
from .parameters import bind
from .tokens import Embedded


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


class Stage(NamedTuple):
    """What blocks and head read besides the tokens.

    Attributes:
        embedded: the tokens as they were embedded, and their times and positions.
        condition: what the sample is denoised under.
        sample: the sample itself.
        t: its timesteps.
    """

    embedded: Embedded
    condition: DreamZeroCondition
    sample: Mapping[str, jax.Array]
    t: Mapping[str, jax.Array]


def embed(
    config: DreamZeroConfig,
    weights: Weights,
    sample: Mapping[str, jax.Array],
    t: Mapping[str, jax.Array],
    condition: DreamZeroCondition,
) -> tuple[jax.Array, Stage]:
    """Turns a sample into tokens; arguments are those of `denoise`.

    Returns:
        Tokens (B, L, D), and what the other stages read besides.
    """
    embedded = bind(config, weights).embed(
        sample["video"],
        t["video"],
        action=sample["action"],
        state=condition.state,
        t_action=t["action"],
        y=condition.y,
        start_frame=condition.cache.length,
    )
    return embedded.x, Stage(embedded, condition, sample, t)


def blocks(
    config: DreamZeroConfig,
    weights: Weights,
    tokens: jax.Array,
    stage: Stage,
    start: int,
    stop: int,
) -> jax.Array:
    """Sends tokens (B, L, D) through blocks ``start`` to ``stop - 1``."""
    tokens, _ = bind(config, weights).run_blocks(
        stage.embedded._replace(x=tokens),
        stage.condition.context,
        stage.condition.cache,
        keep_new=False,
        start=start,
        stop=stop,
    )
    return tokens


def head(
    config: DreamZeroConfig, weights: Weights, tokens: jax.Array, stage: Stage
) -> dict[str, jax.Array]:
    """Reads off the last tokens what the transformer says of the sample."""
    dit = bind(config, weights)
    return {
        "video": dit.decode_video(stage.embedded, tokens),
        "action": dit.decode_action(stage.embedded, tokens),
    }


def modulated(
    config: DreamZeroConfig, weights: Weights, tokens: jax.Array, stage: Stage
) -> jax.Array:
    """Block 0's modulated input (B, L, D), of the embedded tokens."""
    embedded = stage.embedded._replace(x=tokens)
    return bind(config, weights).first_input(embedded)


def denoise(
    config: DreamZeroConfig,
    weights: Weights,
    sample: Mapping[str, jax.Array],
    t: Mapping[str, jax.Array],
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
    tokens, stage = embed(config, weights, sample, t, condition)
    tokens = blocks(config, weights, tokens, stage, 0, config.num_layers)
    return head(config, weights, tokens, stage)
