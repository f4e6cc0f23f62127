"""What a model costs, in numbers that need no weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh

from jax_stepcache.checkpoints.placement import device_bytes, part_bytes
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.offered import placed_by_name

from ..sizes.rows import Row, call_rows, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .model import DreamZeroModel
from .network.flops import count_flops
from .network.parameters import weight_shapes
from .session.placement import session_shardings
from .session.session import session_struct


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


def memory(
    model: DreamZeroModel, rows: int, devices: int, layout: Layout | None = None
) -> dict[str, int]:
    """Bytes of each device in a control step of guided robots, from shapes alone.

    Args:
        model: the model; weights are counted in its activations' dtype.
        rows: robots side by side.
        devices: how many there are.
        layout: how rules cut weights and sessions over these, of an abstract mesh
            perhaps; without, as `load_params` and `DreamZeroPipeline` spread them where
            no rules are given.

    Returns:
        Bytes by what they are for. Those of a step's activations are an estimate: the
        keys and values of the observed block in all layers, and the widest layer.

    Raises:
        ValueError: where the rules do not fit the model, or the rows.
    """
    c = model.dit
    width, branches = jnp.dtype(c.dtype).itemsize, 2 * rows
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, c.dtype), weight_shapes(c)
    )
    mesh = layout or AbstractMesh((devices,), ("devices",))
    session = session_struct(model.size, rows, True)
    where: Any = session_shardings(session, mesh)
    cache = part_bytes(session.cache, where.cache)
    held = c.window - c.num_frame_per_block
    block = c.num_frame_per_block * c.frame_seqlen
    registers = c.num_action_per_block + c.num_state_per_block
    widest = branches * (block + registers) * (2 * c.ffn_dim + 6 * c.dim) * width
    by_name = None
    if layout is not None:
        layout.check("the session", "batch", rows)
        by_name = placed_by_name(model, layout)
        # The rows of a layer are where those of the text are.
        widest = widest * where.text.shard_shape(session.text.shape)[0] // branches
    return {
        "weights": device_bytes(weights, devices, by_name),
        "KV cache": cache,
        "keys and values of prompt and image": part_bytes(
            session.context, where.context
        ),
        "activations of a step, about": cache * block // (held * c.frame_seqlen)
        + widest,
    }
