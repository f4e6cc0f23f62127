"""What a network is told where its weights are split over devices, and its batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


def _as_it_is(tree: Any) -> Any:
    return tree


class Spread(NamedTuple):
    """How weights and activations are spread; pure functions of pytrees.

    Attributes:
        gather: weights of a layer, or of what stands around the layers, made whole on
            each device before they are used.
        pin: arrays [rows, ...] kept where their rows are.
    """

    gather: Callable[[Any], Any] = _as_it_is
    pin: Callable[[Any], Any] = _as_it_is


ALONE = Spread()
"""On one device, nothing is."""
