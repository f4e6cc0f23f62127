"""The sizes of a transformer: in diffusers' configuration, the original's, or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jax_stepcache.checkpoints.shards import TensorHeader

from ...checkpoints.parts import layers_of
from ..sizes import RELEASES, WanConfig

DIFFUSERS = "WanTransformer3DModel"
ORIGINAL = "WanModel"

# Of all that was released; shapes do not tell it.
_HEAD_DIM = 128
# Of the original's options, ours.
_OPTIONS: Mapping[str, str] = {
    "num_heads": "num_attention_heads",
    "in_dim": "in_channels",
    "out_dim": "out_channels",
    "ffn_dim": "ffn_dim",
    "num_layers": "num_layers",
    "freq_dim": "freq_dim",
    "text_dim": "text_dim",
    "eps": "eps",
}
# Options of the original that this implementation has with one value only.
_FIXED: Mapping[str, Any] = {
    "qk_norm": True,
    "cross_attn_norm": True,
    "window_size": [-1, -1],
}
_MODEL_TYPES = ("t2v", "i2v", "flf2v", "ti2v")
_IMAGE = "img_emb.proj.0.weight"
_POSITIONS = "img_emb.emb_pos"


def config_of_diffusers(options: Mapping[str, Any]) -> WanConfig:
    """The sizes in diffusers' ``transformer/config.json``.

    Args:
        options: option names and values.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: for an option, or a value, that is not implemented.
    """
    known = {name: value for name, value in options.items() if name[:1] != "_"}
    return WanConfig.from_dict(known)


def config_of_original(
    options: Mapping[str, Any], headers: Mapping[str, TensorHeader]
) -> WanConfig:
    """The sizes in the original's ``config.json``.

    Whether there is an image branch, and positions of its tokens, is not in it: the
    tensors say so.

    Args:
        options: option names and values.
        headers: of the tensors, under the original's names.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if an option has a value that is not implemented.
    """
    kind = options.get("model_type", "t2v")
    if kind not in _MODEL_TYPES:
        raise ValueError(
            f"model_type is {kind!r}; implemented are {', '.join(_MODEL_TYPES)}"
        )
    for name, only in _FIXED.items():
        if options.get(name, only) not in (only, True if only is True else (-1, -1)):
            raise ValueError(
                f"{name} must be {only!r}, the only value that is implemented; got "
                f"{options[name]!r}"
            )
    given = {ours: options[name] for name, ours in _OPTIONS.items() if name in options}
    if "dim" in options and given.get("num_attention_heads"):
        heads = given["num_attention_heads"]
        if options["dim"] % heads:
            raise ValueError(f"num_heads {heads} does not divide dim {options['dim']}")
        given["attention_head_dim"] = options["dim"] // heads
    if "patch_size" in options:
        given["patch_size"] = tuple(options["patch_size"])
    made = WanConfig(**given)
    return replace(made, **_image_branch(headers, made.dim))


def config_of_tensors(headers: Mapping[str, TensorHeader]) -> WanConfig:
    """The sizes that shapes tell, under the original's names.

    Of a released width all blocks are wanted, whatever is there.

    Args:
        headers: by name, without prefix.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if no transformer has such sizes.
        KeyError: if a tensor is not there.
    """
    dim, channels, *patch = headers["patch_embedding.weight"].shape
    heads, rest = divmod(dim, _HEAD_DIM)
    if rest:
        raise ValueError(
            f"shapes do not tell the number of heads; of {dim} channels, put a "
            "config.json with num_heads beside it"
        )
    image = _image_branch(headers, dim)
    found = WanConfig(
        patch_size=(patch[0], patch[1], patch[2]),
        num_attention_heads=heads,
        in_channels=channels,
        out_channels=headers["head.head.weight"].shape[0] // (patch[1] * patch[2]),
        text_dim=headers["text_embedding.0.weight"].shape[1],
        freq_dim=headers["time_embedding.0.weight"].shape[1],
        ffn_dim=headers["blocks.0.ffn.0.weight"].shape[0],
        num_layers=layers_of(headers, "blocks."),
        **image,
    )
    for release in RELEASES.values():
        whole = replace(found, num_layers=release.transformer.num_layers)
        if same_sizes(whole, release.transformer):
            return whole
    return found


def same_sizes(one: WanConfig, other: WanConfig) -> bool:
    """Whether weights of the one are weights of the other."""
    plain = {"dtype": "float32", "unroll": 1, "attention": None}
    return replace(one, **plain) == replace(other, **plain)


def _image_branch(headers: Mapping[str, TensorHeader], dim: int) -> dict[str, Any]:
    """What the tensors say of an image branch."""
    if _IMAGE not in headers:
        return {}
    learned = headers.get(_POSITIONS)
    return {
        "image_dim": headers[_IMAGE].shape[0],
        "added_kv_proj_dim": dim,
        "pos_embed_seq_len": None if learned is None else learned.shape[1],
    }
