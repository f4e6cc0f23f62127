"""What a model costs, in numbers that need no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import jax
import jax.numpy as jnp

from jax_stepcache.checkpoints.placement import device_bytes
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.around import Around
from jax_stepcache.network.offered import placed_by_name

from .. import clip_vision, umt5, wan_vae
from ..sizes.rows import Row, call_rows, count_parameters, weight_rows
from .checkpoint.name_map import state_dict_shapes
from .configuration import weights_struct
from .model import WanModel
from .network.flops import count_flops
from .network.parameters import weight_shapes
from .offloading import parts_of

_TEXT = 512
_UMT5, _CLIP = "umt5-xxl", "clip-vit-h-14"


def describe(model: WanModel) -> list[Row]:
    """Counts what a model takes, for ``jax-stepcache info``.

    Args:
        model: the model, of a size of films.

    Returns:
        The rows.
    """
    c, release = model.transformer, model.release
    each, count = weight_shapes(c), len(release.experts)
    tensors = len(state_dict_shapes(c))
    height, width = (
        side * stride
        for side, stride in zip(model.latent_size[1:], release.stride[1:], strict=True)
    )
    frames = (model.latent_size[0] - 1) * release.stride[0] + 1
    flops = count_flops(c, model.latent_size)
    own: list[Row] = []
    if count > 1:
        own = [
            ("experts", count, ""),
            ("parameters of each expert", count_parameters(each), ""),
            ("tensors of each expert", tensors, ""),
        ]
    film = f"a film of {frames} frames, {height} x {width} pixels"
    return [
        *own,
        *weight_rows(weights_struct(model), count * tensors, c.dtype),
        (f"tokens of {film}", _tokens(model), ""),
        ("residual that a cache inside keeps, one branch", _residual(model), "B"),
        *call_rows(flops.call),
        ("once a prompt, one branch", count * flops.prompt, "FLOP"),
    ]


def memory(
    model: WanModel, rows: int, devices: int, layout: Layout | None = None
) -> dict[str, int]:
    """Bytes of each device in a step of guided films, from shapes alone.

    Args:
        model: the model; weights are counted in its activations' dtype.
        rows: films side by side.
        devices: how many there are.
        layout: how rules cut weights and films over these; without, as `load_params`
            spreads them where no rules are given.

    Returns:
        Bytes by what they are for. Those of activations are an estimate, of the widest
        layer. Of caches, each branch's residual is counted once, as MagCache keeps it.

    Raises:
        ValueError: where the rules do not fit the model, or the rows.
    """
    c = model.transformer
    width, branches = jnp.dtype(c.dtype).itemsize, 2 * rows
    weights = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, c.dtype), weights_struct(model)
    )
    by_name, share = None, 1
    if layout is not None:
        layout.check("the films", "batch", rows)
        by_name = placed_by_name(model, layout)
        share = devices
    image = 0 if c.image_dim is None else c.pos_embed_seq_len or 257
    prompts = 2 * c.num_layers * (_TEXT + image) * c.dim * width
    widest = _tokens(model) * (max(2 * c.ffn_dim, 4 * c.dim) + 3 * c.dim) * width
    return {
        "weights": device_bytes(weights, devices, by_name),
        "keys and values of prompt and image": branches
        * prompts
        * len(model.release.experts)
        // share,
        "activations of a step, about": branches * widest // share,
        "residuals of a cache inside": branches * _residual(model) // share,
    }


def networks_around(model: WanModel, offload: Sequence[str] = ()) -> Around:
    """The networks of a `WanPipeline`, for ``jax-stepcache info``.

    Args:
        model: the model; of sizes that were released, or there are none around it.
        offload: what waits on the host, see `parts_of`.

    Returns:
        What stays on the devices, and what does not.

    Raises:
        ValueError: for parts that cannot wait.
    """
    c, (waiting, experts) = model.transformer, parts_of(offload, model.release)
    alone = model.experts.names[0] if experts else None
    text, image = umt5.CONFIGS[_UMT5], clip_vision.CONFIGS[_CLIP]
    networks = {"text_encoder": _UMT5} if c.text_dim == text.dim else {}
    if c.image_dim == image.dim:
        networks["image_encoder"] = _CLIP
    vaes = {vae.z_dim: name for name, vae in wan_vae.CONFIGS.items()}
    if networks and c.out_channels in vaes:
        networks["vae"] = vaes[c.out_channels]
    return Around(replace(model, alone=alone), networks, waiting)


def _tokens(model: WanModel) -> int:
    return prod(model.latent_size) // prod(model.transformer.patch_size)


def _residual(model: WanModel) -> int:
    """Bytes of what all blocks add to one branch's tokens, in its dtype."""
    c = model.transformer
    return _tokens(model) * c.dim * jnp.dtype(c.dtype).itemsize
