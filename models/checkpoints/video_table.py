"""The names that the original Wan has for a video transformer's weights."""

from __future__ import annotations

from ..layers.video_sizes import VideoSizes
from .tensors import Table, linear, mlp, norm, only, patches, rms_norm


def video_table(sizes: VideoSizes) -> Table:
    """Every weight of a `VideoTransformer`, and where it comes from.

    Args:
        sizes: the transformer's.

    Returns:
        The table, in the weights' structure.
    """
    patch = linear("patch_embedding")
    patch["kernel"] = patches(
        "patch_embedding.weight", (sizes.in_channels, *sizes.patch_size)
    )
    block = "blocks.{layer}"
    table: Table = {
        "patch_embedding": patch,
        "text_embedding": mlp("text_embedding", "0", "2"),
        "time_embedding": mlp("time_embedding", "0", "2"),
        "time_projection": linear("time_projection.1"),
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
    if sizes.image_dim is not None:
        table["blocks"]["cross_attn"]["image"] = {
            "k": linear(f"{block}.cross_attn.k_img"),
            "v": linear(f"{block}.cross_attn.v_img"),
            "norm_k": rms_norm(f"{block}.cross_attn.norm_k_img"),
        }
        embedding: Table = {
            "norm_in": norm("img_emb.proj.0"),
            "mlp": mlp("img_emb.proj", "1", "3"),
            "norm_out": norm("img_emb.proj.4"),
        }
        if sizes.image_positions is not None:
            embedding["pos_embed"] = only("img_emb.emb_pos")
        table["img_emb"] = embedding
    return table
