"""The encoder's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters
from .config import UMT5Config
from .encoder import UMT5Encoder

_PARAMETERS: Parameters[UMT5Config, UMT5Encoder] = Parameters(UMT5Encoder)

init_weights = _PARAMETERS.init
"""Random weights, see `Parameters.init`."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A `UMT5Encoder` made of weights, see `Parameters.bind`."""
