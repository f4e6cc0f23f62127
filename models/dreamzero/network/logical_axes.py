"""What the axes of DreamZero's weights are called."""

from __future__ import annotations

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import Named, axes_of_weight
from ...layers.video_axes import VIDEO_WEIGHTS

_WEIGHTS: tuple[Named, ...] = (
    *VIDEO_WEIGHTS,
    (r"^action_encoder\.W\d\.kernel$", (None, "embed")),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    return axes_of_weight(_WEIGHTS, name, ndim)
