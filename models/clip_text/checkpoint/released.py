"""Others' checkpoints: which files, which sizes, which tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.shards import Shards
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.paths import as_path

from ...checkpoints.parts import options_beside, prefix_of
from ...checkpoints.released import activations, has_tensors
from ..model import CLIPTextModel
from ..network.config import CLIPTextConfig
from .name_map import PREFIX, TELLING, WITHOUT_USE, plan

# Of transformers' options, ours.
_OPTIONS = {
    "vocab_size": "vocab",
    "max_position_embeddings": "length",
    "hidden_size": "dim",
    "intermediate_size": "mlp_width",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "layer_norm_eps": "eps",
    "hidden_act": "activation",
}
# Where an end token is said so, transformers takes the highest token all the same.
_HIGHEST = 2


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint that holds a text encoder of CLIP's.

    Args:
        path: a folder ``text_encoder`` of diffusers or transformers, with its
            ``config.json``.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a file is cut short, or if the sizes are unknown or impossible.
    """
    path = as_path(path)
    if not has_tensors(path):
        return None
    shards = Shards(path)
    prefix = prefix_of(shards.headers, TELLING, (PREFIX, ""))
    if prefix is None:
        return None
    options = options_beside(path, "text_encoder")
    try:
        config = config_of_options(options.get("text_config", options))
    except (ValueError, TypeError, KeyError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} has tensors of CLIP's text encoder; its config.json, which tells "
            f"their sizes: {said}"
        ) from error
    ours = [x for n, x in shards.headers.items() if not n.startswith(WITHOUT_USE)]
    model = CLIPTextModel(replace(config, dtype=activations(ours)))
    return StreamedCheckpoint(model, shards, plan(config, prefix), WITHOUT_USE)


def open_part(path: Path) -> StreamedCheckpoint | None:
    """See `open_checkpoint`."""
    return open_checkpoint(path)


def config_of_options(options: Mapping[str, Any]) -> CLIPTextConfig:
    """The sizes in transformers' configuration.

    Args:
        options: of its ``config.json``, the text's part.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if an option has a value that is not implemented.
        KeyError: if a size is not there.
    """
    end = options.get("eos_token_id", _HIGHEST)
    given = {ours: options[theirs] for theirs, ours in _OPTIONS.items()}
    return CLIPTextConfig(end=None if end in (None, _HIGHEST) else end, **given)
