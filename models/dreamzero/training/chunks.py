"""Training sequences: what they hold, and how they lie on disk.

A folder has one ``.npy`` file for each field of `Chunks` (``video.npy``,
``action.npy``, ``state.npy``, ``text.npy``, and ``image.npy`` and ``y.npy`` where the
model takes them), each with the sequences along its first axis. Files are mapped into
memory, so a data set may be larger than that; nothing is ever unpickled.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.paths import as_path
from jax_stepcache.processes import by_main

from ...training.data import Seen, look_through
from ..model import DreamZeroModel


class Chunks(NamedTuple):
    """A batch of sequences: a first frame, then blocks of frames and actions.

    Floating JAX arrays; NumPy arrays, mapped from files, where they lie on disk.

    Attributes:
        video: (B, out_dim, 1 + blocks * num_frame_per_block, H, W) latents.
        action: (B, blocks * num_action_per_block, action_dim), normalised to [-1, 1].
        state: (B, blocks * num_state_per_block, max_state_dim), normalised, where each
            block begins.
        text: (B, text_len, text_dim) encoded prompts, zero past their length.
        image: (B, image_len, image_dim) features of the first frame, or None for a
            model without the image branch.
        y: (B, y_dim, frames, H, W) conditioning latent, or None where the model takes
            none.
    """

    video: Any
    action: Any
    state: Any
    text: Any
    image: Any = None
    y: Any = None


def chunks_struct(model: DreamZeroModel, count: int, blocks: int) -> Chunks:
    """Shapes and dtypes of sequences of so many blocks."""
    c, struct = model.dit, jax.ShapeDtypeStruct
    frames = (1 + blocks * c.num_frame_per_block, *model.latent_size)
    shapes = {
        "video": (c.out_dim, *frames),
        "action": (blocks * c.num_action_per_block, c.action_dim),
        "state": (blocks * c.num_state_per_block, c.max_state_dim),
        "text": (c.text_len, c.text_dim),
    }
    if c.image_dim is not None:
        shapes["image"] = (c.image_len, c.image_dim)
    if c.concat_first_frame_latent:
        shapes["y"] = (c.y_dim, *frames)
    return Chunks(**{k: struct((count, *s), jnp.float32) for k, s in shapes.items()})


def load_chunks(folder: str | os.PathLike[str], model: DreamZeroModel) -> Chunks:
    """Opens a folder of sequences, and reads all of it once to see what is in it.

    Args:
        folder: the folder.
        model: the model that is to learn from them.

    Returns:
        The sequences, mapped into memory.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: listing every file that is missing, unknown, cut short, empty,
            misshapen or not of floating point; and the rows with numbers that are not
            finite, and of actions outside [-1, 1].
    """
    return open_chunks(folder, model)[0]


def open_chunks(
    folder: str | os.PathLike[str], model: DreamZeroModel
) -> tuple[Chunks, dict[str, int]]:
    """`load_chunks`, and a checksum of each file's numbers, which marks the data."""
    folder = as_path(folder, "folder")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder} with training sequences")
    wanted = chunks_struct(model, 1, 1)._asdict()
    wanted = {name: x for name, x in wanted.items() if x is not None}
    faults, arrays = [], {}
    for path in sorted(folder.glob("*.npy")):
        if path.stem not in wanted:
            faults.append(f"unknown: {path.name}; there are {sorted(wanted)}")
    for name in wanted:
        path = folder / f"{name}.npy"
        if not path.is_file():
            faults.append(f"missing: {path.name}")
            continue
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy's are of many kinds, EOFError for one
            faults.append(f"cut short or no array: {path.name} ({error})")
    if not faults:
        faults = _misshapen(arrays, model)
    seen = {}
    if not faults:
        # All of it is read once, by one process.
        looked = by_main(lambda: {name: _look(name, x) for name, x in arrays.items()})
        seen = {name: Seen(*one) for name, one in looked.items()}
        faults = [fault for one in seen.values() for fault in one.faults]
    if faults:
        listed = "\n  ".join(faults)
        raise ValueError(f"{folder} does not fit the model:\n  {listed}")
    return Chunks(**arrays), {name: one.checksum for name, one in seen.items()}


def save_chunks(folder: str | os.PathLike[str], chunks: Chunks) -> None:
    """Writes sequences as `load_chunks` reads them, each file under a temporary name.

    Args:
        folder: the folder; it is made.
        chunks: the sequences.
    """
    folder = as_path(folder, "folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in chunks._asdict().items():
        if array is not None:
            temporary = folder / f".{name}.{os.getpid()}.tmp"
            with temporary.open("wb") as file:
                np.save(file, np.asarray(array), allow_pickle=False)
            temporary.replace(folder / f"{name}.npy")


def check_sequence(sequence: Chunks, model: DreamZeroModel) -> tuple[list[str], int]:
    """Looks at a single sequence.

    Args:
        sequence: NumPy arrays without the axis of sequences.
        model: the model that is to learn from it.

    Returns:
        A line for each fault, as `load_chunks` lists them; and a checksum.
    """
    wanted = {
        k for k, x in chunks_struct(model, 1, 1)._asdict().items() if x is not None
    }
    arrays = {k: x[None] for k, x in sequence._asdict().items() if x is not None}
    faults = [f"missing: {name}" for name in sorted(wanted - arrays.keys())]
    faults += [f"unknown: {name}" for name in sorted(arrays.keys() - wanted)]
    faults = faults or _misshapen(arrays, model, "")
    if faults:
        return faults, 0
    seen = [_look(name, array, "") for name, array in arrays.items()]
    checksum = functools.reduce(lambda sum, one: sum * 31 + one.checksum, seen, 0)
    return [fault for one in seen for fault in one.faults], checksum % (1 << 32)


def _misshapen(
    arrays: Mapping[str, np.ndarray], model: DreamZeroModel, suffix: str = ".npy"
) -> list[str]:
    empty = [
        f"empty: {name}{suffix} is {array.shape}; there is nothing to learn from"
        for name, array in arrays.items()
        if not array.size
    ]
    if empty:
        return empty
    video = arrays["video"]
    frames = video.shape[2] if video.ndim == 5 else 0
    blocks, rest = divmod(frames - 1, model.dit.num_frame_per_block)
    if blocks < 1 or rest:
        return [
            f"shape: video{suffix} is {video.shape}; it needs (sequences, "
            f"{model.dit.out_dim}, frames, rows, columns) with one frame and then "
            f"whole blocks of {model.dit.num_frame_per_block}"
        ]
    faults = []
    if blocks > model.dit.max_chunk_size:
        faults.append(
            f"shape: video{suffix} has {blocks} blocks a sequence; a window has "
            f"{model.dit.max_chunk_size}"
        )
    wanted = chunks_struct(model, len(video), blocks)._asdict()
    for name, array in arrays.items():
        if array.shape != wanted[name].shape:
            faults.append(
                f"shape: {name}{suffix} is {array.shape}, the model takes "
                f"{wanted[name].shape}"
            )
        if not np.issubdtype(array.dtype, np.floating):
            faults.append(f"dtype: {name}{suffix} is {array.dtype}, not floating point")
    return faults


def _look(name: str, array: np.ndarray, suffix: str = ".npy") -> Seen:
    if name != "action":
        return look_through(f"{name}{suffix}", array)
    limits, hint = (-1.0, 1.0), "normalise it first"
    return look_through(f"{name}{suffix}", array, limits=limits, hint=hint)
