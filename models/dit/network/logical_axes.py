"""What the axes of DiT's weights are called."""

from __future__ import annotations

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import axes_of_weight

# Rows are those of both guidance branches, the conditional ones first.
ROWS = ("branch", "batch")

# One projection makes queries, then keys, then values: its columns are no heads, and it
# is whole on every device of an axis of heads, where the products after it are not.
_WEIGHTS: tuple[tuple[str, Axes], ...] = (
    (r"attn\.qkv\.kernel$", ("embed", None)),
    (r"attn\.proj\.kernel$", ("heads", "embed")),
    (r"mlp\.layer1\.kernel$", ("embed", "mlp")),
    (r"mlp\.layer1\.bias$", ("mlp",)),
    (r"mlp\.layer2\.kernel$", ("mlp", "embed")),
    (r"modulation\.kernel$", ("embed", None)),
    (r"^time_embedding\.layer\d\.kernel$", (None, "embed")),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)
