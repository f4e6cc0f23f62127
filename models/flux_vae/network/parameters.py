"""The autoencoder's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters
from .coders import FluxVAE
from .config import FluxVAEConfig

_PARAMETERS: Parameters[FluxVAEConfig, FluxVAE] = Parameters(FluxVAE)

init_weights = _PARAMETERS.init
"""Random weights, see `Parameters.init`."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A `FluxVAE` made of weights, see `Parameters.bind`."""
