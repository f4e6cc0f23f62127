"""Demonstrations as training sequences, in the layout that fine-tuning reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ..dreamzero.training.chunks import chunks_struct
from .episodes import Wanted, load_episode
from .latent import encode
from .model import MetaworldModel, metaworld_config, normalised_state
from .segments import Segment, sequences
from .tasks import NAMES

_MODEL = MetaworldModel(metaworld_config())
# Half the bytes; pictures of 256 levels lose nothing that shows.
_DTYPE = np.float16


def write_layout(folder: Path, episodes: Sequence[Wanted], blocks: int) -> str:
    """Writes `Chunks` of all sequences, each file under a temporary name first.

    Args:
        folder: of the demonstrations; the files lie beside the episodes.
        episodes: those that are cut.
        blocks: chunks of a sequence.

    Returns:
        What was written, in words.

    Raises:
        FileNotFoundError: if an episode is not there.
        ValueError: if one is damaged, or if there are more blocks than a window has, or
            none; or no sequence at all.
    """
    check_blocks(blocks)
    count = sum(_count(load_episode(folder, one), blocks) for one in episodes)
    if not count:
        raise ValueError(f"{folder} has no demonstration of {blocks} chunks")
    wanted = chunks_struct(_MODEL, count, blocks)._asdict()
    wanted = {name: x for name, x in wanted.items() if x is not None}
    parts = {name: folder / f".{name}.{os.getpid()}.tmp" for name in wanted}
    try:
        files = {
            name: np.lib.format.open_memmap(parts[name], "w+", _DTYPE, x.shape)
            for name, x in wanted.items()
        }
        row, failed = 0, 0
        for one in episodes:
            segments = load_episode(folder, one)
            failed += not segments
            for segment in segments:
                for chunks in _cut(segment, one.task, blocks):
                    for name, x in chunks.items():
                        files[name][row] = x
                    row += 1
        for name, file in files.items():
            file.flush()
            parts[name].replace(folder / f"{name}.npy")
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return (
        f"{count} sequences of {blocks} chunks, of {len(episodes) - failed} episodes "
        f"({failed} were not done in time): {folder}"
    )


def check_blocks(blocks: int) -> None:
    """Checks how many chunks a sequence has.

    Raises:
        ValueError: for none, or more than a window has.
    """
    window = _MODEL.dit.max_chunk_size
    if not 1 <= blocks <= window:
        raise ValueError(f"blocks is {blocks}; a window has 1 to {window}")


def _count(segments: Sequence[Segment], blocks: int) -> int:
    return sum(1 for one in segments for _ in sequences(one, blocks))


def _cut(segment: Segment, task: str, blocks: int) -> list[dict[str, Any]]:
    """The fields of `Chunks` of each sequence of a segment."""
    whole = segment._replace(frames=_latents(segment.frames))
    text = np.eye(len(NAMES), dtype=_DTYPE)[None, NAMES.index(task)]
    return [
        {
            "video": np.moveaxis(one.frames, 0, 1),
            "action": one.actions,
            "state": normalised_state(one.states),
            "text": text,
        }
        for one in sequences(whole, blocks)
    ]


def _latents(frames: np.ndarray) -> np.ndarray:
    """Pictures uint8 (n, 64, 64, 3) to latents float32 (n, 48, 8, 8)."""
    missing = -len(frames) % 16  # few shapes to compile for
    padded = np.pad(frames, ((0, missing), (0, 0), (0, 0), (0, 0)))
    latents = _encoded(padded.astype(np.float32)[None] / 255)
    return np.moveaxis(np.asarray(latents)[0], 1, 0)[: len(frames)]


_encoded = jax.jit(encode)
