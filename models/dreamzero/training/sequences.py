"""Sequences to train on: a folder of ``.npy`` files, or a source of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from ...training.loader import Rows
from ..model import DreamZeroModel
from .chunks import Chunks, check_sequence, open_chunks


class Sequences(NamedTuple):
    """What a run learns from.

    Attributes:
        rows: gives a sequence by its number: `Chunks` of float32 NumPy arrays without
            the axis of sequences.
        marks: JSON; what a resumed run must find again.
        name: of the data, for errors.
    """

    rows: Rows
    marks: Any
    name: str


def open_sequences(data: Any, model: DreamZeroModel) -> Sequences:
    """Opens sequences, and checks that they fit a model.

    Args:
        data: see `finetune`. Of a folder every number is looked at; of a source the
            first sequence is, and the others as they are read.
        model: the model that is to learn from them.

    Returns:
        The sequences.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: for what does not fit the model, see `load_chunks`.
        TypeError: for what is neither a path nor has sequences.
    """
    if isinstance(data, str | os.PathLike):
        chunks, checksums = open_chunks(data, model)
        return Sequences(_Folder(chunks), checksums, str(data))
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise TypeError(
            f"data is a {type(data).__name__}; give a folder, or a source with "
            "len(data) and data[i], such as a grain.MapDataset"
        )
    name = f"the {type(data).__name__}"
    if not len(data):
        raise ValueError(f"{name} is empty; there is nothing to learn from")
    first = _as_sequence(data[0], name, 0)
    faults, checksum = check_sequence(first, model)
    if faults:
        listed = "\n  ".join(faults)
        raise ValueError(f"{name} does not fit the model:\n  {listed}")
    shapes = jax.tree.map(np.shape, first)
    return Sequences(_Source(data, name, shapes), {"first": checksum}, name)


@dataclass(frozen=True)
class _Folder:
    """Sequences mapped from files."""

    chunks: Chunks

    def __len__(self) -> int:
        return len(self.chunks.video)

    def __getitem__(self, row: Any) -> Chunks:
        return jax.tree.map(lambda x: np.asarray(x[row], np.float32), self.chunks)


@dataclass(frozen=True)
class _Source:
    """Somebody's sequences, each of the shapes of the first."""

    data: Any
    name: str
    shapes: Any

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: Any) -> Chunks:
        sequence = _as_sequence(self.data[row], self.name, row)
        shapes = jax.tree.map(np.shape, sequence)
        if shapes != self.shapes:
            raise ValueError(
                f"sequence {row} of {self.name} has shapes {_words(shapes)}, and the "
                f"first {_words(self.shapes)}: give all of them one number of blocks"
            )
        return sequence


def _as_sequence(given: Any, name: str, row: int) -> Chunks:
    fields = given._asdict() if isinstance(given, Chunks) else given
    if not isinstance(fields, Mapping) or not fields.keys() <= set(Chunks._fields):
        told = sorted(fields) if isinstance(fields, Mapping) else type(given).__name__
        raise ValueError(
            f"sequence {row} of {name} is {told}; give a mapping of "
            f"{', '.join(Chunks._fields)}"
        )
    arrays = {k: None if x is None else np.asarray(x) for k, x in fields.items()}
    for field, x in arrays.items():
        if x is not None and not np.issubdtype(x.dtype, np.floating):
            raise ValueError(
                f"sequence {row} of {name} has {field} of {x.dtype}, not floating point"
            )
    every = dict.fromkeys(Chunks._fields) | arrays
    return Chunks(
        **{k: x if x is None else x.astype(np.float32) for k, x in every.items()}
    )


def _words(shapes: Chunks) -> str:
    return str({k: x for k, x in shapes._asdict().items() if x is not None})
