"""Wan, which makes films of words and pictures.

`WanTransformer` is its network, `WanModel` what a sampler calls, `RELEASES` the sizes
that were released.
"""

from .model import (
    WanModel,
    axis_sizes,
    config_of,
    model_from_config,
    model_of,
    weights_struct,
    with_dtype,
)
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.stages import WanCondition
from .network.transformer import WanTransformer
from .sizes import RELEASES, WanConfig, WanRelease

__all__ = [
    "RELEASES",
    "WanCondition",
    "WanConfig",
    "WanModel",
    "WanRelease",
    "WanTransformer",
    "axis_sizes",
    "bind",
    "config_of",
    "init_weights",
    "model_from_config",
    "model_of",
    "weight_axes",
    "weight_shapes",
    "weights_struct",
    "with_dtype",
]
