"""What a FLUX costs, in numbers that need no weights."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jax_stepcache.checkpoints.placement import device_bytes
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.around import Around
from jax_stepcache.network.offered import placed_by_name

from .. import clip_text, umt5
from ..encoders.waiting import parts_of
from ..sizes.rows import Row, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .folder import OFFLOADED
from .model import FluxModel, weights_struct
from .network.flops import count_flops


def describe(model: FluxModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model, of a size of pictures.

    Returns:
        The rows.
    """
    c, release = model.transformer, model.release
    height, width = (side * release.stride for side in model.latent_size)
    call = count_flops(c, model.tokens, release.text_len)
    tensors = len(state_dict_shapes(c))
    return [
        *weight_rows(weights_struct(model), tensors, c.dtype),
        (f"tokens of a picture, {height} x {width} pixels", model.tokens, ""),
        ("tokens of a prompt", release.text_len, ""),
        ("residual that a cache inside keeps", _residual(model), "B"),
        ("one call", call, "FLOP"),
    ]


def memory(
    model: FluxModel, rows: int, devices: int, layout: Layout | None = None
) -> dict[str, int]:
    """Bytes of each device in a step, from shapes alone.

    Args:
        model: the model; weights are counted in its activations' dtype.
        rows: pictures side by side.
        devices: how many there are.
        layout: how rules cut weights and pictures over these; without, as `load_params`
            spreads them where no rules are given.

    Returns:
        Bytes by what they are for. Those of activations are an estimate, of the widest
        layer.

    Raises:
        ValueError: where the rules do not fit the model, or the rows.
    """
    c = model.transformer
    width = jnp.dtype(c.dtype).itemsize
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, c.dtype), weights_struct(model)
    )
    by_name, share = None, 1
    if layout is not None:
        layout.check("the pictures", "batch", rows)
        by_name, share = placed_by_name(model, layout), devices
    tokens = model.tokens + model.release.text_len
    widest = tokens * (c.mlp_width + 7 * c.dim) * width
    return {
        "weights": device_bytes(weights, devices, by_name),
        "activations of a step, about": rows * widest // share,
        "residuals of a cache inside": rows * _residual(model) // share,
    }


def networks_around(model: FluxModel, offload: Sequence[str] = ()) -> Around:
    """The networks of a `FluxPipeline`, for ``jax-stepcache info``.

    Args:
        model: the model; of sizes that were released, or there are none around it.
        offload: what waits on the host, names in `OFFLOADED`.

    Returns:
        What stays on the devices, and what does not.

    Raises:
        ValueError: for parts that cannot wait.
    """
    c, waits = model.transformer, parts_of(tuple(offload), OFFLOADED, ())
    text = {"text_encoder": "clip-vit-l-14", "text_encoder_2": "t5-v1.1-xxl"}
    released = clip_text.CONFIGS["clip-vit-l-14"], umt5.CONFIGS["t5-v1.1-xxl"]
    widths = c.pooled_projection_dim, c.joint_attention_dim
    if widths != tuple(one.dim for one in released):
        return Around(model, {})
    waiting = (*(text if "text_encoder" in waits else ()), *waits)
    return Around(model, {**text, "vae": "flux-vae"}, waiting)


def _residual(model: FluxModel) -> int:
    """Bytes of what all blocks add to the tokens of image and text, in their dtype."""
    c, tokens = model.transformer, model.tokens + model.release.text_len
    return tokens * c.dim * jnp.dtype(c.dtype).itemsize
