"""What the axes of the encoder's weights are called.

Megatron's cut: queries, keys, values and the first map of the feed-forward by their
columns, the maps behind them by their rows.
"""

from __future__ import annotations

from typing import Any

from jax.sharding import PartitionSpec

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import axes_of_weight

_WEIGHTS: tuple[tuple[str, Axes], ...] = (
    (r"attn\.qkv\.kernel$", (None, "embed", "heads")),
    (r"attn\.qkv\.bias$", (None, "heads")),
    (r"attn\.proj\.kernel$", ("heads", "embed")),
    (r"mlp\.layer1\.kernel$", ("embed", "mlp")),
    (r"mlp\.layer1\.bias$", ("mlp",)),
    (r"mlp\.layer2\.kernel$", ("mlp", "embed")),
    (r"^patch_embedding\.kernel$", (None, "embed")),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)


def by_rows(specs: Any) -> PartitionSpec:
    """How what is made of pictures lies: as their rows do.

    Args:
        specs: of what a program is given, the pictures last.

    Returns:
        The spec of all that it makes.
    """
    return PartitionSpec(*specs[-1][:1])
