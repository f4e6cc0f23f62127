"""The names that the original's PyTorch checkpoints have for our weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jax_stepcache.checkpoints.streaming import Recipe

from ...checkpoints.name_map import assembled, recipes, source_shapes
from ...checkpoints.tensors import Table, linear, mlp, norm, only, patches, rms_norm
from ...sizes.parameters import Weights
from ..network.config import DreamZeroConfig
from ..network.parameters import misfits, weight_shapes


def _category_linear(name: str) -> Table:
    """(1, in, out): of the embodiment categories the checkpoints keep one."""
    return {"kernel": only(f"{name}.W"), "bias": only(f"{name}.b")}


def _category_mlp(name: str) -> Table:
    return {
        layer: _category_linear(f"{name}.{layer}") for layer in ("layer1", "layer2")
    }


def _table(config: DreamZeroConfig) -> Table:
    """Every weight of ours, in our structure, and where it comes from."""
    _, ph, pw = config.patch_size
    patch = linear("patch_embedding")
    patch["kernel"] = patches("patch_embedding.weight", (config.in_dim, 1, ph, pw))
    block = "blocks.{layer}"
    table = {
        "patch_embedding": patch,
        "text_embedding": mlp("text_embedding", "0", "2"),
        "time_embedding": mlp("time_embedding", "0", "2"),
        "time_projection": linear("time_projection.1"),
        "state_encoder": _category_mlp("state_encoder"),
        "action_encoder": {
            name: _category_linear(f"action_encoder.{name}")
            for name in ("W1", "W2", "W3")
        },
        "action_decoder": _category_mlp("action_decoder"),
        "head": {
            "modulation": only("head.modulation"),
            "proj": linear("head.head"),
        },
        "blocks": {
            "modulation": only(f"{block}.modulation"),
            "norm3": norm(f"{block}.norm3"),
            "ffn": mlp(f"{block}.ffn", "0", "2"),
            "self_attn": {
                **{n: linear(f"{block}.self_attn.{n}") for n in "qkvo"},
                "norm_q": rms_norm(f"{block}.self_attn.norm_q"),
                "norm_k": rms_norm(f"{block}.self_attn.norm_k"),
            },
            "cross_attn": {
                "q": linear(f"{block}.cross_attn.q"),
                "norm_q": rms_norm(f"{block}.cross_attn.norm_q"),
                "text": {
                    "k": linear(f"{block}.cross_attn.k"),
                    "v": linear(f"{block}.cross_attn.v"),
                    "norm_k": rms_norm(f"{block}.cross_attn.norm_k"),
                },
                "o": linear(f"{block}.cross_attn.o"),
            },
        },
    }
    if config.image_dim is not None:
        table["blocks"]["cross_attn"]["image"] = {
            "k": linear(f"{block}.cross_attn.k_img"),
            "v": linear(f"{block}.cross_attn.v_img"),
            "norm_k": rms_norm(f"{block}.cross_attn.norm_k_img"),
        }
        table["img_emb"] = {
            "norm_in": norm("img_emb.proj.0"),
            "mlp": mlp("img_emb.proj", "1", "3"),
            "norm_out": norm("img_emb.proj.4"),
        }
    return table


def state_dict_shapes(config: DreamZeroConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint's tensors for a configuration.

    Args:
        config: the model's.

    Returns:
        Shapes by name, without the checkpoint's prefix (``action_head.model.``).
    """
    return source_shapes(plan(config))


def plan(config: DreamZeroConfig, prefix: str = "") -> dict[str, Recipe]:
    """How a checkpoint's tensors become the weights, for one that is streamed.

    Args:
        config: the model's.
        prefix: what the tensors' names begin with.

    Returns:
        A recipe for each weight, by name, with dots.
    """
    return recipes(_table(config), weight_shapes(config), prefix)


def import_state_dict(
    config: DreamZeroConfig, tensors: Mapping[str, np.ndarray]
) -> Weights:
    """Renames, transposes and stacks the tensors of a PyTorch state dict.

    Args:
        config: the model's.
        tensors: the DiT's tensors by name, without the checkpoint's prefix
            (``action_head.model.``).

    Returns:
        Weights as `bind` takes them, in the dtype they were given in.

    Raises:
        ValueError: naming every tensor that is missing, unknown or misshapen.
    """
    given = {name: np.shape(tensor) for name, tensor in tensors.items()}
    if faults := misfits(given, state_dict_shapes(config)):
        raise ValueError(
            f"the state dict does not fit the configuration, {len(faults)} faults: "
            + "; ".join(faults)
        )
    on_host = {name: np.asarray(tensor) for name, tensor in tensors.items()}
    return assembled(plan(config), on_host)
