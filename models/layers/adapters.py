"""Low-rank adapters: two small products beside the one of a frozen matrix.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models". The product of the
two factors is never made, so neither it nor its gradient takes memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

_FIRST = ".adapter.a"


class Adapter(nnx.Module):
    """What is added to an affine map of x: ``(x @ a) @ b``.

    Attributes:
        a: (in, rank), its scale included.
        b: (rank, out).
    """

    def __init__(self, in_features: int, out_features: int, rank: int):
        self.a = nnx.Param(jnp.zeros((in_features, rank)))
        self.b = nnx.Param(jnp.zeros((rank, out_features)))

    def __call__(self, rows: jax.Array) -> jax.Array:
        """Maps (rows, in) to (rows, out) in the dtype of ``rows``."""
        a, b = (x.get_value().astype(rows.dtype) for x in (self.a, self.b))
        return (rows @ a) @ b


def adapted(shapes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[str, int], ...]:
    """Which affine maps have adapters beside them.

    Args:
        shapes: of weights, by name with dots.

    Returns:
        Names and ranks, in order of the names.
    """
    return tuple(
        (name.removesuffix(_FIRST), shape[-1])
        for name, shape in sorted(shapes.items())
        if name.endswith(_FIRST) and shape
    )


def add_adapters(network: nnx.Module, ranks: Iterable[tuple[str, int]]) -> None:
    """Puts adapters beside affine maps of a network.

    Args:
        network: is changed. Maps that are stacked get stacked adapters.
        ranks: names with dots, and ranks.

    Raises:
        ValueError: for a name that is none of an affine map.
    """
    for name, rank in ranks:
        module: Any = network
        for part in name.split("."):
            module = getattr(module, part, None)
        kernel = getattr(module, "kernel", None)
        if module is None or not hasattr(module, "adapter") or kernel is None:
            raise ValueError(f"{name} is no affine map, so it can have no adapter")
        *layers, inside, outside = kernel.get_value().shape
        adapter = Adapter(inside, outside, rank)
        for x in (adapter.a, adapter.b):
            value = x.get_value()
            x.set_value(jnp.zeros((*layers, *value.shape)))
        module.adapter = adapter
