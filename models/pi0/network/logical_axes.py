"""What the axes of the network's weights are called.

Megatron's cut: projections to heads and the gated maps by their columns, the maps
behind them by their rows.
"""

from __future__ import annotations

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import axes_of_weight

# There is no guidance, so rows are those of the batch.
ROWS = ("branch", "batch")

_WEIGHTS: tuple[tuple[str, Axes], ...] = (
    # One head of keys and values for all: whole on every device.
    (r"blocks\.kv\.kernel$", (None, "embed", None)),
    (r"vision\.blocks\.[qkv]\.kernel$", ("embed", "heads")),
    (r"vision\.blocks\.[qkv]\.bias$", ("heads",)),
    (r"blocks\.q\.kernel$", ("embed", "heads")),
    (r"blocks\.o\.kernel$", ("heads", "embed")),
    (r"mlp\.gate_up\.kernel$", (None, "embed", "mlp")),
    (r"mlp\.down\.kernel$", ("mlp", "embed")),
    (r"mlp\.layer1\.kernel$", ("embed", "mlp")),
    (r"mlp\.layer1\.bias$", ("mlp",)),
    (r"mlp\.layer2\.kernel$", ("mlp", "embed")),
    (r"^embedder$", (None, "embed")),
    (r"modulation\.kernel$", ("embed", None)),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)
