"""What the axes of the autoencoder's weights are called: only storage is cut."""

from __future__ import annotations

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import Named, axes_of_weight

_WEIGHTS: tuple[Named, ...] = (
    (r"conv_out\.kernel$", (None, None, "embed", None)),
    (r"(?:conv\w*|resample)\.kernel$", (None, None, None, "embed")),
    (r"\.kernel$", (None, "embed")),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)
