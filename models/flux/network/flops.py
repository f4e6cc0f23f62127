"""How much arithmetic the transformer's matrix products take."""

from __future__ import annotations

from ...sizes.arithmetic import product
from ..sizes import FluxConfig


def count_flops(config: FluxConfig, image: int, text: int) -> int:
    """Floating-point operations of one call; all else is small beside its products.

    Args:
        config: the transformer's.
        image: tokens of the image.
        text: tokens of the prompt.

    Returns:
        The count, a product and a sum counting two.
    """
    c, d, wide = config, config.dim, config.mlp_width
    both = image + text
    attention = 2 * product(both, both, d)
    double = 4 * product(both, d, d) + 2 * product(both, d, wide) + attention
    double += 2 * product(1, d, 6 * d)
    single = 3 * product(both, d, d) + product(both, d, wide) + attention
    single += product(both, d + wide, d) + product(1, d, 3 * d)
    embedded = 1 + c.guidance_embeds
    outside = sum(
        (
            2 * product(image, c.in_channels, d),
            product(text, c.joint_attention_dim, d),
            embedded * (product(1, c.freq_dim, d) + product(1, d, d)),
            product(1, c.pooled_projection_dim, d) + product(1, d, d),
            product(1, d, 2 * d),
        )
    )
    return c.num_layers * double + c.num_single_layers * single + outside
