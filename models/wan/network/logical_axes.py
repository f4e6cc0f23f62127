"""What the axes of Wan's weights are called."""

from __future__ import annotations

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import axes_of_weight
from ...layers.video_axes import VIDEO_WEIGHTS


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name; that of an expert may stand before."""
    return axes_of_weight(VIDEO_WEIGHTS, name, ndim)
