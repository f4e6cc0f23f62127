"""The names that transformers' checkpoints have for our weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax_stepcache.checkpoints.streaming import Recipe

from ...checkpoints.name_map import imported, recipes, source_shapes
from ...checkpoints.parts import prefix_of
from ...checkpoints.tensors import Table, linear, mlp, norm, same, three
from ...sizes.parameters import Weights
from ..network.config import CLIPTextConfig
from ..network.parameters import weight_shapes

PREFIX = "text_model."
"""What names begin with in released files; transformers 5 leaves it out."""

TELLING = "embeddings.token_embedding.weight"
# What transformers saves beside the weights, or of the picture's half.
WITHOUT_USE = (
    f"{PREFIX}embeddings.position_ids",
    "embeddings.position_ids",
    "text_projection.",
    "visual_projection.",
    "vision_model.",
    "logit_scale",
)


def _table() -> Table:
    """Every weight of ours, and where it comes from."""
    block = "encoder.layers.{layer}"
    attention = f"{block}.self_attn"
    return {
        "token_embedding": same("embeddings.token_embedding.weight"),
        "positions": same("embeddings.position_embedding.weight"),
        "blocks": {
            "norm1": norm(f"{block}.layer_norm1"),
            "attn": {
                "qkv": three(*(f"{attention}.{x}_proj" for x in "qkv")),
                "proj": linear(f"{attention}.out_proj"),
            },
            "norm2": norm(f"{block}.layer_norm2"),
            "mlp": mlp(f"{block}.mlp", "fc1", "fc2"),
        },
        "norm": norm("final_layer_norm"),
    }


def plan(config: CLIPTextConfig, prefix: str = PREFIX) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights.

    Args:
        config: the encoder's.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    return recipes(_table(), weight_shapes(config), prefix)


def state_dict_shapes(config: CLIPTextConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors; see `plan`."""
    return source_shapes(plan(config))


def import_state_dict(config: CLIPTextConfig, tensors: Mapping[str, Any]) -> Weights:
    """Renames, transposes and stacks the tensors of a state dict.

    Args:
        config: the encoder's.
        tensors: arrays by their names in transformers'.

    Returns:
        Weights as `encode` takes them, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    used = {n: x for n, x in tensors.items() if not n.startswith(WITHOUT_USE)}
    return imported(plan(config, prefix_of(tensors, TELLING, (PREFIX, "")) or ""), used)
