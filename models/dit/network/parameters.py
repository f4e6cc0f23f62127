"""The transformer's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters
from .config import DiTConfig
from .transformer import DiT

_PARAMETERS: Parameters[DiTConfig, DiT] = Parameters(DiT)

init_weights = _PARAMETERS.init
"""Weights to train from scratch, see `Parameters.init`. Xavier-uniform matrices;
modulations and output are zero, so that a fresh model predicts zero and every block is
the identity."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A network made of weights, see `Parameters.bind`."""
