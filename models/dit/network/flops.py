"""How much arithmetic the transformer's matrix products take."""

from __future__ import annotations

from typing import NamedTuple

from ...sizes.arithmetic import product
from .config import DiTConfig
from .transformer import FREQUENCIES


class Flops(NamedTuple):
    """Floating-point operations for one sample, a product and a sum counting two.

    Attributes:
        embed: before the blocks.
        block: one of the blocks.
        head: after them.
        call: one call of the network: one branch of one step.
    """

    embed: int
    block: int
    head: int
    call: int


def count_flops(config: DiTConfig) -> Flops:
    """Counts the matrix products of a forward; all else is small beside them.

    Args:
        config: the model's.

    Returns:
        The counts.
    """
    c, d, tokens = config, config.hidden_size, config.tokens
    patch = c.patch_size**2
    embed = sum(
        (
            product(tokens, c.in_channels * patch, d),
            product(1, FREQUENCIES, d) + product(1, d, d),
        )
    )
    block = sum(
        (
            product(1, d, 6 * d),  # modulation
            4 * product(tokens, d, d),  # queries, keys, values and output
            2 * product(tokens, tokens, d),  # scores and their sum over values
            2 * product(tokens, d, c.mlp_width),
        )
    )
    head = product(1, d, 2 * d) + product(tokens, d, patch * c.out_channels)
    return Flops(embed, block, head, embed + c.depth * block + head)
