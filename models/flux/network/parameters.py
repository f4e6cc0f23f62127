"""The transformer's weights: fresh ones, their shapes, and a model made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters
from ..sizes import FluxConfig
from .transformer import FluxTransformer

_PARAMETERS: Parameters[FluxConfig, FluxTransformer] = Parameters(FluxTransformer)

init_weights = _PARAMETERS.init
"""Weights to train from scratch, see `Parameters.init`. Xavier-uniform matrices; the
projections to modulation and output are zero."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A model made of weights, see `Parameters.bind`."""
