"""Weights and the model they belong to, as one pytree."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import check_leaves
from jax_stepcache.nodes import register_dataclass


@register_dataclass
@dataclass(frozen=True)
class Params:
    """Weights that know their model.

    A pytree whose leaves are the weights and whose static part is the model, so it
    passes through `jax.jit`, `jax.tree.map` and Orbax.

    Attributes:
        weights: nested dict of arrays.
        model: the configuration and functions of a `Model`, or those of a `Part`, which
            is not sampled; hashable.
    """

    weights: Any
    model: Any = field(metadata={"static": True})

    def __repr__(self) -> str:
        """The model, and how many parameters it has."""
        count = sum(int(np.prod(np.shape(x))) for x in jax.tree.leaves(self.weights))
        return f"Params({self.model.name}, {count:,} parameters)"


def check_params(params: Any, model: Any) -> None:
    """Checks what is given for weights.

    Args:
        params: what was given.
        model: a denoiser of the user's own, or None.

    Raises:
        TypeError: for the name of a model, for the params of a network that is not
            sampled, or where something in them is no array.
    """
    if isinstance(params, str | PathLike) and model is None:
        raise TypeError(
            f"params is {str(params)!r}, a name; give what load_params("
            f"{str(params)!r}) returns"
        )
    if isinstance(params, Params) and not hasattr(params.model, "denoise"):
        raise TypeError(
            f"params are those of {params.model.name}, which is not sampled: it is an "
            "encoder or a VAE"
        )
    check_leaves(params, "params")
