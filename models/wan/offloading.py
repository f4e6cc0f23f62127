"""Experts that wait on the host, and come to the devices one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.errors import unknown_name
from jax_stepcache.network.params import Params
from jax_stepcache.processes import gathered, put_all

from ..encoders.frozen import OFFLOADED
from .sizes import WanRelease

EXPERTS = "experts"
"""What the transformers of a Wan with two are called among what may wait."""


class Places(NamedTuple):
    """Where experts go whose weights are on the host.

    Attributes:
        shardings: by name, a tree for each like its weights.
    """

    shardings: Mapping[str, Any]

    def bring(self, params: Params, name: str) -> Params:
        """Puts an expert where it runs.

        Args:
            params: both, on the host.
            name: which.

        Returns:
            Its weights, and the model that asks it alone.
        """
        weights = put_all(params.weights[name], self.shardings[name])
        return Params({name: weights}, replace(params.model, alone=name))


def parts_of(
    offload: bool | str | Iterable[str], release: WanRelease
) -> tuple[tuple[str, ...], bool]:
    """What is to wait.

    Args:
        offload: names in `OFFLOADED`, `EXPERTS` among them, one or several; True for
            the text encoder, and the experts where there are two; False for none.
        release: the release.

    Returns:
        The encoders among them, and whether the experts are.

    Raises:
        ValueError: for an unknown name, or experts of a release without.
    """
    two = len(release.experts) > 1
    if isinstance(offload, bool):
        return ("text_encoder",) if offload else (), offload and two
    parts = (offload,) if isinstance(offload, str) else tuple(offload)
    for part in parts:
        if part not in (*OFFLOADED, EXPERTS):
            raise ValueError(
                unknown_name("part to offload", part, (*OFFLOADED, EXPERTS))
            )
    if EXPERTS in parts and not two:
        raise ValueError(
            f"offload has {EXPERTS!r}, and this Wan has one transformer, which every "
            "step needs"
        )
    return tuple(part for part in parts if part != EXPERTS), EXPERTS in parts


def offloaded(params: Params) -> tuple[Params, Places]:
    """Takes weights of experts to the host.

    Args:
        params: of both, or one of them.

    Returns:
        The same on the host, and where each belongs.
    """
    shardings = jax.tree.map(lambda x: jnp.asarray(x).sharding, params.weights)
    return Params(gathered(params.weights), params.model), Places(shardings)
