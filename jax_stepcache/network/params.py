"""Weights and the model they belong to, as one pytree."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np


@jax.tree_util.register_dataclass
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
