"""The transformer's weights: fresh ones, their shapes, and a model made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters, Shapes
from .config import DreamZeroConfig
from .transformer import CausalWanModel


def misfits(given: Shapes, wanted: Shapes) -> list[str]:
    """What is wrong with weights or tensors, in their own order.

    Args:
        given: shapes by name.
        wanted: likewise.

    Returns:
        A line for each that is missing, unknown or misshapen.
    """
    faults = [f"missing {name}" for name in wanted if name not in given]
    faults += [f"unknown {name}" for name in given if name not in wanted]
    faults += [
        f"{name} has shape {given[name]}, not {shape}"
        for name, shape in wanted.items()
        if name in given and given[name] != shape
    ]
    return faults


def _check(given: Shapes, wanted: Shapes) -> None:
    if faults := misfits(given, wanted):
        raise ValueError("weights do not fit the configuration: " + "; ".join(faults))


_PARAMETERS: Parameters[DreamZeroConfig, CausalWanModel] = Parameters(
    CausalWanModel, _check
)

init_weights = _PARAMETERS.init
"""Weights to train from scratch, see `Parameters.init`. Xavier-uniform matrices; the
projections to modulation and to both outputs are zero, so that a fresh model predicts
zero and every block is near the identity."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A model made of weights, see `Parameters.bind`."""
