"""How much arithmetic the transformer's matrix products take."""

from __future__ import annotations

from typing import NamedTuple

from ...sizes.arithmetic import product
from ...sizes.video_flops import block_flops, prompt_flops
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
    image = 0 if c.image_dim is None else c.image_len
    patch = c.patch_size[1] * c.patch_size[2]
    block = block_flops(c.video, tokens, keys, c.text_len + image)
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
    prompt = prompt_flops(c.video, c.text_len, image)
    return Flops(layers * block + outside, prompt)
