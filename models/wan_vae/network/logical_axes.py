"""What the axes of the VAE's weights are called.

Videos, latents and the slots of a stream have one axis to cut, their first: ``batch``.
Frames, rows and columns are left whole: a frame hangs on those before it, and every
convolution would have to fetch the borders of its neighbours. Channels are left whole
where others cut heads and hidden units, for two sums over devices in each residual
block cost more than there is to save; only storage is cut, as for training (``embed``).
"""

from __future__ import annotations

from typing import Any

from jax.sharding import PartitionSpec

from jax_stepcache.meshes.layout import Axes

from ...layers.logical_axes import axes_of_weight

_WEIGHTS: tuple[tuple[str, Axes], ...] = (
    (r"head\.conv\.kernel$", (None, None, None, "embed", None)),
    (r"(?:conv_in|conv\d|time_conv)\.kernel$", (None, None, None, None, "embed")),
    (r"(?:down|up)\.conv\.kernel$", (None, None, None, "embed")),
    (r"(?:shortcut|to_qkv|proj)\.kernel$", (None, "embed")),
)


def weight_axes(name: str, ndim: int) -> Axes:
    """The logical axes of a weight by its name."""
    if ndim == 2 and name.startswith("conv"):
        return (None, None)  # conv1 and conv2, which stand beside the coders
    return axes_of_weight(_WEIGHTS, name, ndim)


def by_rows(specs: Any) -> PartitionSpec:
    """How what is made of a video or of latents lies: as the rows of these do.

    Args:
        specs: of what a program is given, the video or the latents last.

    Returns:
        The spec of all that it makes.
    """
    return PartitionSpec(*specs[-1][:1])
