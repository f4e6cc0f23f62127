"""What the axes of the encoder's weights are called.

Megatron's cut: queries, keys, values, gates and what is gated by their columns, the
maps behind them by their rows.
"""

from __future__ import annotations

from typing import Any

from jax.sharding import PartitionSpec

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import axes_of_weight

_WEIGHTS: tuple[tuple[str, Axes], ...] = (
    (r"attn\.[qkv]\.kernel$", ("embed", "heads")),
    (r"attn\.o\.kernel$", ("heads", "embed")),
    (r"ffn\.(?:gate|fc1)\.kernel$", ("embed", "mlp")),
    (r"ffn\.fc2\.kernel$", ("mlp", "embed")),
    (r"\.positions$", (None, "heads")),
    (r"^token_embedding$", (None, "embed")),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)


def by_rows(specs: Any) -> PartitionSpec:
    """How what is made of tokens lies: as their rows do.

    Args:
        specs: of what a program is given, the tokens last but one.

    Returns:
        The spec of all that it makes.
    """
    return PartitionSpec(*specs[-2][:1])
