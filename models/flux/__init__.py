"""FLUX.1, which makes pictures of words.

`FluxTransformer` is its network, `FluxModel` what a sampler calls, `RELEASES` the sizes
that were released.
"""

from ..checkpoints.lora import keep_lora, merge_lora
from .checkpoint.name_map import import_state_dict, state_dict_shapes
from .checkpoint.released import (
    named_model,
    open_checkpoint,
    open_part,
    tensor_plans,
)
from .describe import describe, memory, networks_around
from .encoders import FluxEncoders
from .making import make_pictures
from .model import (
    FluxModel,
    axis_sizes,
    config_of,
    model_from_config,
    model_of,
    weights_struct,
    with_dtype,
)
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights
from .network.transformer import FluxTransformer, Prompt
from .pictures import FluxPicture
from .pipeline import FluxPipeline
from .sizes import RELEASES, FluxConfig, FluxRelease
from .times import flux_schedule

__all__ = [
    "RELEASES",
    "FluxConfig",
    "FluxEncoders",
    "FluxModel",
    "FluxPicture",
    "FluxPipeline",
    "FluxRelease",
    "FluxTransformer",
    "Prompt",
    "axis_sizes",
    "bind",
    "config_of",
    "describe",
    "flux_schedule",
    "import_state_dict",
    "init_weights",
    "keep_lora",
    "make_pictures",
    "memory",
    "merge_lora",
    "model_from_config",
    "model_of",
    "named_model",
    "networks_around",
    "open_checkpoint",
    "open_part",
    "state_dict_shapes",
    "tensor_plans",
    "weight_axes",
    "weights_struct",
    "with_dtype",
]
