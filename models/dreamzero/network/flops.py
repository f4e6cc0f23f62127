"""How much arithmetic the transformer's matrix products take."""

from __future__ import annotations

from typing import NamedTuple

from ...sizes.arithmetic import product
from .config import DreamZeroConfig


class Flops(NamedTuple):
    """Floating-point operations for one sample, a product and a sum counting two.

    Attributes:
        call: one call of the network: one branch of one step.
        prompt: what is done once per prompt, its keys and values for all layers.
    """

    call: int
    prompt: int


def count_flops(config: DreamZeroConfig, frames: int | None = None) -> Flops:
    """Counts the matrix products of a denoising forward; all else is small beside them.

    Args:
        config: the model's.
        frames: frames that the cache has room for; the model's window unless given.
            Free slots cost as much as full ones.

    Returns:
        The counts.
    """
    c = config
    d, layers = c.dim, c.num_layers
    video = c.num_frame_per_block * c.frame_seqlen
    actions, states = c.num_action_per_block, c.num_state_per_block
    tokens = video + actions + states
    keys = tokens + (c.window if frames is None else frames) * c.frame_seqlen
    with_image = c.image_dim is not None
    context = c.text_len + (c.image_len if with_image else 0)
    patch = c.patch_size[1] * c.patch_size[2]

    block = sum(
        (
            4 * product(tokens, d, d),  # q, k, v and o
            2 * product(tokens, keys, d),  # scores and their sum over values
            2 * product(tokens, d, d),  # q and o of the cross-attention
            2 * product(tokens, context, d),
            2 * product(tokens, d, c.ffn_dim),
        )
    )
    outside = sum(
        (
            product(video, c.in_dim * patch, d),
            # Video and actions have a timestep each.
            2 * (product(1, c.freq_dim, d) + product(1, d, d)),
            2 * product(1, d, 6 * d),
            product(actions, c.action_dim, d),
            product(actions, 2 * d, d) + product(actions, d, d),
            product(states, c.max_state_dim, c.hidden_size),
            product(states, c.hidden_size, d),
            product(actions, d, c.hidden_size),
            product(actions, c.hidden_size, c.action_dim),
            product(video, d, c.video.patch_out),
        )
    )
    prompt = sum(
        (
            product(c.text_len, c.text_dim, d) + product(c.text_len, d, d),
            layers * 2 * product(context, d, d),
        )
    )
    if c.image_dim is not None:
        prompt += product(c.image_len, c.image_dim, c.image_dim + d)
    return Flops(layers * block + outside, prompt)
