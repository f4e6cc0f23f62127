"""How much arithmetic the products of a transformer of videos take."""

from __future__ import annotations

from ..layers.video_sizes import VideoSizes
from .arithmetic import product


def block_flops(sizes: VideoSizes, tokens: int, keys: int, context: int) -> int:
    """Counts the matrix products of a block.

    Args:
        sizes: the transformer's.
        tokens: that go through it.
        keys: that each attends to, among tokens and what is cached.
        context: tokens of prompt and image.

    Returns:
        Floating-point operations, a product and a sum counting two.
    """
    d = sizes.dim
    return sum(
        (
            4 * product(tokens, d, d),  # q, k, v and o
            2 * product(tokens, keys, d),  # scores and their sum over values
            2 * product(tokens, d, d),  # q and o of the cross-attention
            2 * product(tokens, context, d),
            2 * product(tokens, d, sizes.ffn_dim),
        )
    )


def prompt_flops(sizes: VideoSizes, text: int, image: int) -> int:
    """Counts what is done once a prompt: keys and values for all layers.

    Args:
        sizes: the transformer's.
        text: tokens of the prompt, those that it is filled up with included.
        image: tokens of the image features; 0 without an image branch.

    Returns:
        As `block_flops`.
    """
    d = sizes.dim
    count = product(text, sizes.text_dim, d) + product(text, d, d)
    count += sizes.num_layers * 2 * product(text + image, d, d)
    if sizes.image_dim is not None:
        count += product(image, sizes.image_dim, sizes.image_dim + d)
    return count
