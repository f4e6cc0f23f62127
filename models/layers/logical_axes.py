"""What models call the axes of their weights, for rules about meshes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jax_stepcache.meshes.layout import Axes

# A pattern of a weight's name, and its axes without that of the layers.
Named = tuple[str, Axes]


def axes_of_weight(table: Iterable[Named], name: str, ndim: int) -> Axes:
    """The logical axes of a weight.

    Args:
        table: patterns and axes; the first that fits holds.
        name: the weight's, with dots. A number in it is the index of a layer.
        ndim: how many axes it has, one more than the table's where layers are stacked.

    Returns:
        Its axes; None for each where nothing is known.
    """
    plain = ".".join(part for part in name.split(".") if not part.isdigit())
    for pattern, axes in table:
        if re.search(pattern, plain):
            if ndim == len(axes):
                return axes
            if ndim == len(axes) + 1:
                return ("layers", *axes)
    return (None,) * ndim
