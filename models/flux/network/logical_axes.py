"""What the axes of FLUX's weights and conditions are called."""

from __future__ import annotations

from typing import Any

import jax

from jax_stepcache.meshes.layout import Axes, Layout

from ...layers.logical_axes import Named, axes_of_weight
from ...layers.video_axes import ROWS

# Megatron's cut, as that of videos: each pair of maps needs one sum over devices. A
# single block's last map reads heads and hidden values behind one another, so it and
# what leads to it stay whole.
_WEIGHTS: tuple[Named, ...] = (
    (r"^double\.\w+\.attn\.[qkv]\.kernel$", ("embed", "heads")),
    (r"^double\.\w+\.attn\.[qkv]\.bias$", ("heads",)),
    (r"^double\.\w+\.o\.kernel$", ("heads", "embed")),
    (r"^double\.\w+\.mlp\.layer1\.kernel$", ("embed", "mlp")),
    (r"^double\.\w+\.mlp\.layer1\.bias$", ("mlp",)),
    (r"^double\.\w+\.mlp\.layer2\.kernel$", ("mlp", "embed")),
    (r"^single\.attn\.[qkv]\.kernel$", ("embed", "heads")),
    (r"^single\.attn\.[qkv]\.bias$", ("heads",)),
    (r"^single\.mlp\.kernel$", ("embed", "mlp")),
    (r"^single\.mlp\.bias$", ("mlp",)),
    (r"^single\.out\.kernel$", (None, "embed")),
    (r"modulation\.kernel$", ("embed", None)),
    (r"_embedding\.(?:layer\d\.)?kernel$", (None, "embed")),
    (r"^proj\.kernel$", ("embed", None)),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)


def constrained(layout: Layout | None, tree: Any) -> Any:
    """Pins arrays with rows where the rules have them, inside `jax.jit`.

    Args:
        layout: None changes nothing.
        tree: arrays of [rows, ...].

    Returns:
        The tree.
    """
    if layout is None:
        return tree
    return jax.tree.map(
        lambda x: layout.constrain(x, (ROWS, *(None,) * (x.ndim - 1))), tree
    )
