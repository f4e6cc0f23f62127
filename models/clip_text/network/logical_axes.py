"""What the axes of the encoder's weights are called: as of CLIP's image encoder."""

from __future__ import annotations

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import Named, axes_of_weight

_WEIGHTS: tuple[Named, ...] = (
    (r"attn\.qkv\.kernel$", (None, "embed", "heads")),
    (r"attn\.qkv\.bias$", (None, "heads")),
    (r"attn\.proj\.kernel$", ("heads", "embed")),
    (r"mlp\.layer1\.kernel$", ("embed", "mlp")),
    (r"mlp\.layer1\.bias$", ("mlp",)),
    (r"mlp\.layer2\.kernel$", ("mlp", "embed")),
    (r"^token_embedding$", (None, "embed")),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)
