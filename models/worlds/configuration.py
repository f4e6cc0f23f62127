"""The sizes of a world's model, and how its weights file tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax_stepcache.errors import unknown_name

from ..dreamzero import DreamZeroConfig
from ..dreamzero import config_of as dreamzero_config_of
from .model import WorldModel


def world_config(
    *,
    dim: int,
    num_layers: int,
    channels: int,
    frame_seqlen: int,
    text: tuple[int, int],
    chunk: tuple[int, int],
    action_dim: int,
    state_dim: int,
) -> DreamZeroConfig:
    """A small transformer's sizes, of any world.

    Args:
        dim: its width; 32 channels a head.
        num_layers: its depth.
        channels: of a latent.
        frame_seqlen: tokens of a frame.
        text: tokens of an instruction, and their width.
        chunk: frames and actions that are planned at once.
        action_dim: components of an action.
        state_dim: components of a state.

    Returns:
        The sizes.
    """
    text_len, text_dim = text
    frames, actions = chunk
    return DreamZeroConfig(
        model_type="ti2v",
        dim=dim,
        ffn_dim=4 * dim,
        num_heads=dim // 32,
        num_layers=num_layers,
        in_dim=channels,
        out_dim=channels,
        frame_seqlen=frame_seqlen,
        text_len=text_len,
        text_dim=text_dim,
        freq_dim=64,
        num_frame_per_block=frames,
        num_action_per_block=actions,
        action_dim=action_dim,
        max_state_dim=state_dim,
        hidden_size=dim,
        concat_first_frame_latent=False,
        image_dim=None,
    )


def described_sizes(name: str, config: Mapping[str, Any]) -> DreamZeroConfig:
    """The sizes that a weights file describes in its header.

    Args:
        name: the model's.
        config: what `config_of` made.

    Returns:
        The sizes.

    Raises:
        ValueError: if the description is not of such a model.
    """
    if set(config) != {"dit"}:
        raise ValueError(unknown_name(f"{name} config", sorted(config), ["dit"]))
    return DreamZeroConfig.from_dict(config["dit"])


def config_of(model: WorldModel) -> dict[str, Any]:
    """What `described_sizes` reads."""
    return {"dit": dreamzero_config_of(model)["dit"]}
