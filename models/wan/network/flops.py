"""How much arithmetic the transformer's matrix products take."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from ...sizes.arithmetic import product
from ...sizes.video_flops import block_flops, prompt_flops
from ..sizes import WanConfig


class Flops(NamedTuple):
    """Floating-point operations for one film, a product and a sum counting two.

    Attributes:
        call: one call of a transformer: one branch of one step.
        prompt: what is done once a prompt, its keys and values for all layers.
    """

    call: int
    prompt: int


def count_flops(
    config: WanConfig, latent: tuple[int, int, int], text: int = 512, image: int = 257
) -> Flops:
    """Counts the matrix products of a forward; all else is small beside them.

    Args:
        config: the transformer's.
        latent: frames, rows and columns.
        text: tokens of the prompt, those that it is filled up with included.
        image: tokens of the image features, where the transformer takes some.

    Returns:
        The counts.
    """
    c, d = config, config.dim
    tokens = prod(latent) // prod(c.patch_size)
    seen = 0 if c.image_dim is None else c.pos_embed_seq_len or image
    block = block_flops(c.video, tokens, tokens, text + seen)
    outside = sum(
        (
            product(tokens, c.video.patch_in, d),
            product(1, c.freq_dim, d) + product(1, d, d) + product(1, d, 6 * d),
            product(tokens, d, c.video.patch_out),
        )
    )
    prompt = prompt_flops(c.video, text, seen)
    return Flops(c.num_layers * block + outside, prompt)
