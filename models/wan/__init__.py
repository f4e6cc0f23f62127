"""Wan, which makes films of words and pictures.

`WanTransformer` is its network, `WanModel` what a sampler calls, `RELEASES` the sizes
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
from .checkpoint.scheduler import SPACINGS, Scheduler
from .configuration import (
    axis_sizes,
    config_of,
    model_from_config,
    weights_struct,
    with_dtype,
)
from .describe import describe, memory, networks_around
from .film import WanFilm
from .making import make_films
from .model import WanModel, model_of
from .network.logical_axes import weight_axes
from .network.parameters import bind, init_weights, weight_shapes
from .network.stages import WanCondition
from .network.transformer import WanTransformer
from .pipeline import WanPipeline
from .prompt import NEGATIVE_PROMPT
from .sizes import RELEASES, WanConfig, WanRelease

__all__ = [
    "NEGATIVE_PROMPT",
    "RELEASES",
    "SPACINGS",
    "Scheduler",
    "WanCondition",
    "WanConfig",
    "WanFilm",
    "WanModel",
    "WanPipeline",
    "WanRelease",
    "WanTransformer",
    "axis_sizes",
    "bind",
    "config_of",
    "describe",
    "import_state_dict",
    "init_weights",
    "keep_lora",
    "make_films",
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
    "weight_shapes",
    "weights_struct",
    "with_dtype",
]
