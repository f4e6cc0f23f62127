"""Experts that wait on the host, and come to the devices one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from jax_stepcache.network.params import Params
from jax_stepcache.processes import put_all

from ..encoders import waiting
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
    usual = ("text_encoder", *((EXPERTS,) if two else ()))
    parts = waiting.parts_of(offload, (*OFFLOADED, EXPERTS), usual)
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
    weights, shardings = waiting.taken_away(params.weights)
    return Params(weights, params.model), Places(shardings)
