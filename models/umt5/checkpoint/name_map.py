"""The names that the original's checkpoints and transformers' have for our weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jax_stepcache.checkpoints.streaming import Recipe

from ...checkpoints.name_map import imported, recipes, source_shapes
from ...checkpoints.tensors import Table, Tensor, projection, rms_norm, same
from ...sizes.parameters import Weights
from ..network.config import UMT5Config
from ..network.parameters import weight_shapes

FIRST_TABLE = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
"""Positions of the first block, in files of transformers; T5 has no other."""

# The token embedding, which transformers keeps under either name, or under both.
TRANSFORMERS_EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")


def _original() -> Table:
    """Every weight of ours, and where it comes from in Wan's and DreamZero's files."""
    block = "blocks.{layer}"
    return {
        "token_embedding": same("token_embedding.weight"),
        "blocks": {
            "norm1": rms_norm(f"{block}.norm1"),
            "attn": {n: projection(f"{block}.attn.{n}") for n in "qkvo"},
            "norm2": rms_norm(f"{block}.norm2"),
            "ffn": {
                "gate": projection(f"{block}.ffn.gate.0"),
                "fc1": projection(f"{block}.ffn.fc1"),
                "fc2": projection(f"{block}.ffn.fc2"),
            },
            "positions": same(f"{block}.pos_embedding.embedding.weight"),
        },
        "norm": rms_norm("norm"),
    }


def _transformers(embedding: str) -> Table:
    """Likewise in files of transformers' ``UMT5EncoderModel``."""
    attention, dense = (f"encoder.block.{{layer}}.layer.{i}" for i in range(2))
    inside = f"{attention}.SelfAttention"
    gated = f"{dense}.DenseReluDense"
    return {
        "token_embedding": same(embedding),
        "blocks": {
            "norm1": rms_norm(f"{attention}.layer_norm"),
            "attn": {n: projection(f"{inside}.{n}") for n in "qkvo"},
            "norm2": rms_norm(f"{dense}.layer_norm"),
            "ffn": {
                "gate": projection(f"{gated}.wi_0"),
                "fc1": projection(f"{gated}.wi_1"),
                "fc2": projection(f"{gated}.wo"),
            },
            "positions": same(f"{inside}.relative_attention_bias.weight"),
        },
        "norm": rms_norm("encoder.final_layer_norm"),
    }


@dataclass(frozen=True)
class Copies:
    """A conversion: one table for each of so many blocks.

    Attributes:
        count: of the blocks.
    """

    count: int

    def __call__(self, tensor: Any) -> Any:
        """The copies, along a first axis."""
        return tensor[None].repeat(self.count, 0)


def _for_all(layers: int) -> Tensor:
    """The first block's table, which T5's blocks share."""
    return Tensor(FIRST_TABLE, lambda ours: ours[1:], Copies(layers))


def plan(
    config: UMT5Config, prefix: str = "", embedding: str | None = None
) -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights.

    Args:
        config: the encoder's.
        prefix: what the tensors' names begin with.
        embedding: the token embedding's name in a checkpoint of transformers; None for
            one of the original.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    table = _original() if embedding is None else _transformers(embedding)
    if config.one_table:
        table["blocks"]["positions"] = _for_all(config.num_layers)
    return recipes(table, weight_shapes(config), prefix)


def state_dict_shapes(
    config: UMT5Config, embedding: str | None = None
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a checkpoint's tensors, without prefix; see `plan`."""
    return source_shapes(plan(config, embedding=embedding))


def import_state_dict(config: UMT5Config, tensors: Mapping[str, Any]) -> Weights:
    """Renames, transposes and stacks the tensors of a state dict.

    Args:
        config: the encoder's.
        tensors: arrays by their names in the original's, without prefix, or in
            transformers', where the token embedding may be there twice.

    Returns:
        Weights as `encode` takes them, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, extra or misshapen.
    """
    embedding, *again = embeddings_of(tensors) or [None]
    once = {n: x for n, x in tensors.items() if n not in again}
    return imported(plan(config, embedding=embedding), once)


def embeddings_of(names: Iterable[str]) -> list[str]:
    """The names of the token embedding in a checkpoint of transformers.

    Args:
        names: of all tensors.

    Returns:
        Those that are there; none in a checkpoint of the original.
    """
    known = set(names)
    return [name for name in TRANSFORMERS_EMBEDDINGS if name in known]
