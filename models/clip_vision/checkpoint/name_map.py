"""The names that the original's checkpoints and transformers' have for our weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax_stepcache.checkpoints.streaming import Recipe

from ...checkpoints.name_map import imported, recipes, source_shapes
from ...checkpoints.tensors import (
    Table,
    channels_first,
    linear,
    mlp,
    norm,
    only,
    patches,
    same,
    thirds,
    three,
)
from ...sizes.parameters import Weights
from ..network.config import CLIPVisionConfig
from ..network.parameters import weight_shapes

# What the original's names begin with, but for the one of the temperature.
PREFIX = "model.visual."
TEMPERATURE = "model.log_scale"
TRANSFORMERS = "vision_model."


def _original(config: CLIPVisionConfig) -> Table:
    """Every weight of ours, and where it comes from in Wan's and DreamZero's files."""
    p, block = config.patch_size, "transformer.{layer}"
    return {
        "patch_embedding": {"kernel": patches("patch_embedding.weight", (3, p, p))},
        "cls_embedding": channels_first("cls_embedding", 2),
        "pos_embedding": only("pos_embedding"),
        "pre_norm": norm("pre_norm"),
        "blocks": {
            "norm1": norm(f"{block}.norm1"),
            "attn": {
                "qkv": thirds(f"{block}.attn.to_qkv"),
                "proj": linear(f"{block}.attn.proj"),
            },
            "norm2": norm(f"{block}.norm2"),
            "mlp": mlp(f"{block}.mlp", "0", "2"),
        },
    }


def _transformers(config: CLIPVisionConfig) -> Table:
    """Likewise in files of transformers' ``CLIPVisionModel``."""
    p, block, embeddings = config.patch_size, "encoder.layers.{layer}", "embeddings"
    attention = f"{block}.self_attn"
    patch = f"{embeddings}.patch_embedding.weight"
    return {
        "patch_embedding": {"kernel": patches(patch, (3, p, p))},
        "cls_embedding": same(f"{embeddings}.class_embedding"),
        "pos_embedding": same(f"{embeddings}.position_embedding.weight"),
        "pre_norm": norm("pre_layrnorm"),  # sic
        "blocks": {
            "norm1": norm(f"{block}.layer_norm1"),
            "attn": {
                "qkv": three(*(f"{attention}.{x}_proj" for x in "qkv")),
                "proj": linear(f"{attention}.out_proj"),
            },
            "norm2": norm(f"{block}.layer_norm2"),
            "mlp": mlp(f"{block}.mlp", "fc1", "fc2"),
        },
    }


def plan(
    config: CLIPVisionConfig, prefix: str = PREFIX, *, transformers: bool = False
) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights.

    Args:
        config: the encoder's.
        prefix: what the tensors' names begin with.
        transformers: whether they are transformers' names, not the original's.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    table = _transformers(config) if transformers else _original(config)
    return recipes(table, weight_shapes(config), prefix)


def without_use(config: CLIPVisionConfig, prefix: str) -> tuple[str, ...]:
    """Beginnings of the names of tensors that features have no use of.

    Args:
        config: the encoder's.
        prefix: of the encoder's names, the original's or transformers'.

    Returns:
        The beginnings: the last block, what comes behind it, and the text's half.
    """
    last = config.depth
    if prefix == TRANSFORMERS:
        inside = (f"encoder.layers.{last}.", "post_layernorm.", "embeddings.position_i")
        around = ("visual_projection.", "text_projection.", "text_model.", "logit_")
        return (*(prefix + name for name in inside), *around)
    inside = (f"transformer.{last}.", "post_norm.", "head")
    outside = prefix.removesuffix("visual.")
    around = (f"{outside}{name}" for name in ("log_scale", "textual."))
    return (*(prefix + name for name in inside), *around)


def state_dict_shapes(config: CLIPVisionConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the original's tensors, those without use included."""
    used, dim, wide = source_shapes(plan(config)), config.dim, config.mlp_width
    last = f"{PREFIX}transformer.{config.depth}"
    first = f"{PREFIX}transformer.0"
    block = {
        last + name.removeprefix(first): shape
        for name, shape in used.items()
        if name.startswith(f"{first}.")
    }
    assert block[f"{last}.mlp.0.weight"] == (wide, dim)
    post = {f"{PREFIX}post_norm.{name}": (dim,) for name in ("weight", "bias")}
    head = {f"{PREFIX}head": (dim, config.out_dim), TEMPERATURE: (1,)}
    return used | block | post | head


def import_state_dict(config: CLIPVisionConfig, tensors: Mapping[str, Any]) -> Weights:
    """Renames, transposes and stacks the tensors of a state dict.

    Args:
        config: the encoder's.
        tensors: arrays by their names in the original's, or in transformers'. What the
            features have no use of may be left out.

    Returns:
        Weights as `encode` takes them, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    transformers = any(name.startswith(TRANSFORMERS) for name in tensors)
    prefix = TRANSFORMERS if transformers else PREFIX
    wanted = plan(config, prefix, transformers=transformers)
    unused = without_use(config, prefix)
    used = {n: x for n, x in tensors.items() if not n.startswith(unused)}
    return imported(wanted, used)
