"""Others' checkpoints: which files, which sizes, which tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.paths import as_path

from ...checkpoints.parts import (
    has_others,
    layers_of,
    options_beside,
    passed_over,
    prefix_of,
    under,
)
from ...checkpoints.released import activations, has_tensors
from ..model import UMT5Model
from ..network.config import UMT5Config
from ..network.published import CONFIGS
from .name_map import FIRST_TABLE, TRANSFORMERS_EMBEDDINGS, embeddings_of, plan

PART = "text_encoder"
# What names begin with in DreamZero's checkpoint, and in the files that Wan releases.
PREFIXES = ("action_head.text_encoder.", "")
# A table of positions in a block tells UMT5 from T5, whose blocks share one.
_ORIGINAL = "blocks.0.pos_embedding.embedding.weight"
_SECOND = FIRST_TABLE.replace("block.0", "block.1")
_KINDS = ("umt5", "t5")
# Of transformers' options, ours.
_OPTIONS = {
    "vocab_size": "vocab",
    "d_model": "dim",
    "d_ff": "dim_ffn",
    "num_heads": "num_heads",
    "num_layers": "num_layers",
    "relative_attention_num_buckets": "num_buckets",
    "relative_attention_max_distance": "max_dist",
    "layer_norm_epsilon": "eps",
}


def open_checkpoint(path: Path) -> StreamedCheckpoint | None:
    """Opens a checkpoint that holds a text encoder and nothing else.

    Args:
        path: a folder ``text_encoder`` of diffusers or transformers (UMT5's, or
            ``text_encoder_2``, T5's v1.1), or a safetensors
            file or a folder of such files with the tensors under the original's names,
            with or without the prefix ``action_head.text_encoder.``.

    Returns:
        The checkpoint, or None if it is of another kind.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if a file is cut short, or if the sizes are unknown or impossible.
    """
    found = open_part(path)
    if found is None or has_others(found.shards.headers, PART):
        return None
    return found


def open_part(path: Path) -> StreamedCheckpoint | None:
    """Opens the text encoder of a checkpoint that may hold other networks, too.

    Args:
        path: as in `open_checkpoint`, or DreamZero's released folder.

    Returns:
        The checkpoint, or None if there is none in it.

    Raises:
        FileNotFoundError: as `open_checkpoint`.
        ValueError: as `open_checkpoint`.
    """
    path = as_path(path)
    if not has_tensors(path):
        return None
    shards = Shards(path)
    prefix = prefix_of(shards.headers, _ORIGINAL, PREFIXES)
    options = options_beside(path, PART)
    if prefix is not None:
        ours = under(shards.headers, prefix)
        config = config_of_tensors(ours, path)
        others = passed_over(shards.headers, prefix)
        return _checkpoint(shards, config, ours, plan(config, prefix), others)
    kind = options.get("model_type", "umt5")
    if FIRST_TABLE not in shards.headers or kind not in _KINDS:
        return None
    return _of_transformers(shards, options, path)


def _of_transformers(
    shards: Shards, options: Mapping[str, Any], path: Path
) -> StreamedCheckpoint:
    headers = shards.headers
    there = embeddings_of(headers)
    embedding = (there or TRANSFORMERS_EMBEDDINGS)[0]
    try:
        config = config_of_options(options)
        if options.get("model_type") == "t5":
            config = replace(config, one_table=_SECOND not in headers)
    except (ValueError, TypeError, KeyError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path} has UMT5's tensors under transformers' names; its config.json, "
            f"which tells their sizes: {said}"
        ) from error
    again = tuple(there[1:])  # The same numbers, tied.
    return _checkpoint(
        shards, config, headers, plan(config, embedding=embedding), again
    )


def _checkpoint(
    shards: Shards,
    config: UMT5Config,
    headers: Mapping[str, TensorHeader],
    recipes: Mapping[str, Any],
    others: tuple[str, ...],
) -> StreamedCheckpoint:
    dtype = activations(headers.values())
    model = UMT5Model(replace(config, dtype=dtype))
    return StreamedCheckpoint(model, shards, recipes, others)


def config_of_tensors(headers: Mapping[str, TensorHeader], path: Path) -> UMT5Config:
    """The sizes that the tensors' shapes tell, under the original's names.

    Of a released width all blocks are wanted, whatever is there.

    Args:
        headers: by name, without prefix.
        path: where they are from, for the error.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if they are of no encoder.
    """
    try:
        vocab, dim = headers["token_embedding.weight"].shape
        buckets, heads = headers[_ORIGINAL].shape
        for config in CONFIGS.values():
            if (vocab, dim, heads) == (config.vocab, config.dim, config.num_heads):
                return replace(config, dtype="float32")
        return UMT5Config(
            vocab=vocab,
            dim=dim,
            dim_attn=headers["blocks.0.attn.q.weight"].shape[0],
            dim_ffn=headers["blocks.0.ffn.fc1.weight"].shape[0],
            num_heads=heads,
            num_layers=layers_of(headers, "blocks."),
            num_buckets=buckets,
        )
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"{path} has tensors of a UMT5 encoder, of sizes that none can have: "
            f"{error}"
        ) from error


def config_of_options(options: Mapping[str, Any]) -> UMT5Config:
    """The sizes in transformers' configuration.

    Args:
        options: of its ``config.json``.

    Returns:
        The configuration, in float32.

    Raises:
        ValueError: if an option has a value that is not implemented.
        KeyError: if a size is not there.
    """
    kind = options.get("feed_forward_proj", "gated-gelu")
    if kind != "gated-gelu":
        raise ValueError(
            "feed_forward_proj must be 'gated-gelu', the only one that is implemented; "
            f"got {kind!r}"
        )
    given = {ours: options[theirs] for theirs, ours in _OPTIONS.items()}
    return UMT5Config(dim_attn=options["d_kv"] * given["num_heads"], **given)
