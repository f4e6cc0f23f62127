"""What a model costs, in numbers that need no weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_stepcache.checkpoints.placement import bytes_per_device

from ..sizes.rows import Row, call_rows, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import DreamZeroModel
from .network.flops import count_flops
from .network.parameters import weight_shapes


def describe(model: DreamZeroModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model.

    Returns:
        The rows.
    """
    c = model.dit
    branches = 2
    held = c.window - c.num_frame_per_block
    numbers = 2 * branches * c.num_layers * held * c.frame_seqlen * c.dim
    cache = numbers * jnp.dtype(c.dtype).itemsize
    flops = count_flops(c, held)
    return [
        *weight_rows(weight_shapes(c), len(state_dict_shapes(c)), c.dtype),
        (f"KV cache a session, {held} frames, both branches", cache, "B"),
        *call_rows(flops.call),
        ("once a prompt, one branch", flops.prompt, "FLOP"),
    ]


def memory(model: DreamZeroModel, rows: int, devices: int) -> dict[str, int]:
    """Bytes of each device in a control step of guided robots, from shapes alone.

    Args:
        model: the model; weights are counted in its activations' dtype.
        rows: robots side by side.
        devices: as `load_params` and `DreamZeroPipeline` spread them.

    Returns:
        Bytes by what they are for. Those of a step's activations are an estimate: the
        keys and values of the observed block in all layers, and the widest layer.
    """
    c = model.dit
    width, branches = jnp.dtype(c.dtype).itemsize, 2 * rows
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, c.dtype), weight_shapes(c)
    )
    by_heads = devices if c.num_heads % devices == 0 else 1
    per_token = 2 * c.num_layers * branches * c.dim * width // by_heads
    block = c.num_frame_per_block * c.frame_seqlen
    registers = c.num_action_per_block + c.num_state_per_block
    widest = branches * (block + registers) * (2 * c.ffn_dim + 6 * c.dim) * width
    seen = c.text_len + (0 if c.image_dim is None else c.image_len)
    return {
        "weights": bytes_per_device(weights, devices),
        "KV cache": (c.window - c.num_frame_per_block) * c.frame_seqlen * per_token,
        "keys and values of prompt and image": seen * per_token,
        "activations of a step, about": block * per_token + widest,
    }
