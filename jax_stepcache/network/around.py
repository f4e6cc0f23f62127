"""The networks that a pipeline holds beside the one that is sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

SAMPLED = "transformer"
"""What the network that is sampled is called among those that may wait."""


class Around(NamedTuple):
    """What a model's package offers as ``networks_around(model, offload)``.

    Attributes:
        model: the model, of the weights that are on the devices while it is sampled.
        networks: configurations (see `CONFIGURATIONS`) of those that were released
            with it, by the names that folders have for them.
        waiting: those of them that are on the devices only while they run, one after
            the other; `SAMPLED` too, where the sampled one is.
    """

    model: Any
    networks: Mapping[str, str]
    waiting: tuple[str, ...] = ()
