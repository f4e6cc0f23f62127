"""What an autoencoder costs, in numbers that need no weights."""

from __future__ import annotations

from ..sizes.rows import Row, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import FluxVAEModel
from .network.parameters import weight_shapes


def describe(model: FluxVAEModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.config
    return [
        *weight_rows(weight_shapes(c), len(state_dict_shapes(c)), c.dtype),
        ("pixels of a latent, in rows and columns", c.stride, ""),
    ]
