"""The network's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters
from .config import Pi0Config
from .pi0 import Pi0

_PARAMETERS: Parameters[Pi0Config, Pi0] = Parameters(Pi0)

init_weights = _PARAMETERS.init
"""Random weights, see `Parameters.init`."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A `Pi0` made of weights, see `Parameters.bind`."""
