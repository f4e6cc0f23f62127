"""The encoder's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters
from .config import CLIPTextConfig
from .encoder import CLIPText

_PARAMETERS: Parameters[CLIPTextConfig, CLIPText] = Parameters(CLIPText)

init_weights = _PARAMETERS.init
"""Random weights, see `Parameters.init`."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A `CLIPText` made of weights, see `Parameters.bind`."""
