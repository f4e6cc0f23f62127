"""What diffusers calls the parts that the original gave other names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_EMBEDDER = "condition_embedder"
_IMAGE = f"{_EMBEDDER}.image_embedder"

# The original's name of a module or parameter, and diffusers'.
_OUTSIDE: Mapping[str, str] = MappingProxyType(
    {
        "text_embedding.0": f"{_EMBEDDER}.text_embedder.linear_1",
        "text_embedding.2": f"{_EMBEDDER}.text_embedder.linear_2",
        "time_embedding.0": f"{_EMBEDDER}.time_embedder.linear_1",
        "time_embedding.2": f"{_EMBEDDER}.time_embedder.linear_2",
        "time_projection.1": f"{_EMBEDDER}.time_proj",
        "img_emb.proj.0": f"{_IMAGE}.norm1",
        "img_emb.proj.1": f"{_IMAGE}.ff.net.0.proj",
        "img_emb.proj.3": f"{_IMAGE}.ff.net.2",
        "img_emb.proj.4": f"{_IMAGE}.norm2",
        "img_emb.emb_pos": f"{_IMAGE}.pos_embed",
        "head.head": "proj_out",
        "head.modulation": "scale_shift_table",
    }
)
# Likewise inside a block.
_OF_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_k_img": "norm_added_k",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
}
_INSIDE: Mapping[str, str] = MappingProxyType(
    {
        "modulation": "scale_shift_table",
        "norm3": "norm2",
        "ffn.0": "ffn.net.0.proj",
        "ffn.2": "ffn.net.2",
        **{
            f"{original}.{name}": f"{diffusers}.{other}"
            for original, diffusers in (("self_attn", "attn1"), ("cross_attn", "attn2"))
            for name, other in _OF_ATTENTION.items()
        },
    }
)
_OUTSIDE_BACK = {other: name for name, other in _OUTSIDE.items()}
_INSIDE_BACK = {other: name for name, other in _INSIDE.items()}


def to_diffusers(name: str) -> str:
    """Diffusers' name of what the original calls so.

    Args:
        name: of a tensor or module, such as ``"blocks.0.self_attn.q.weight"``; in place
            of the block's number may be anything without a dot.

    Returns:
        The name; one that is the same in both, or unknown, as it is.
    """
    return _renamed(name, _OUTSIDE, _INSIDE)


def to_original(name: str) -> str:
    """The inverse of `to_diffusers`."""
    return _renamed(name, _OUTSIDE_BACK, _INSIDE_BACK)


def _renamed(name: str, outside: Mapping[str, str], inside: Mapping[str, str]) -> str:
    ending = next((end for end in (".weight", ".bias") if name.endswith(end)), "")
    module = name.removesuffix(ending)
    first, _, rest = module.partition(".")
    if first == "blocks":
        number, _, within = rest.partition(".")
        return f"blocks.{number}.{inside.get(within, within)}{ending}"
    return outside.get(module, module) + ending
