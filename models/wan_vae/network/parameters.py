"""The VAE's weights: fresh ones, their shapes, and a network made of them."""

from __future__ import annotations

from ...sizes.parameters import Parameters
from .config import WanVAEConfig
from .vae import WanVAE

_PARAMETERS: Parameters[WanVAEConfig, WanVAE] = Parameters(WanVAE)

init_weights = _PARAMETERS.init
"""Weights to train from scratch, see `Parameters.init`. The attention's last map is
zero, so that a fresh one passes its input on."""

weight_shapes = _PARAMETERS.shapes
"""Their shapes, see `Parameters.shapes`."""

bind = _PARAMETERS.bind
"""A `WanVAE` made of weights, see `Parameters.bind`."""
