"""Sequences of a user's own source: the same batches as from a folder, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero.training import load_chunks
from jax_stepcache.models.dreamzero.training.sequences import open_sequences
from jax_stepcache.models.training.loader import Loader, Order

from .sequences import MODEL

grain = pytest.importorskip("grain", reason="needs the extra finetune")


def sequences(folder: Path) -> list[dict[str, Any]]:
    chunks = load_chunks(folder, MODEL)._asdict()
    return [
        {name: np.array(x[i]) for name, x in chunks.items() if x is not None}
        for i in range(len(chunks["video"]))
    ]


def test_a_source_gives_what_a_folder_does(data: Path) -> None:
    """Any source with random access, among them grain's."""
    own = grain.MapDataset.source(sequences(data))
    batches = [
        Loader(open_sequences(given, MODEL).rows, Order(4, 2, 0), steps=1).batch_at(0)
        for given in (data, own)
    ]
    jax.tree.map(np.testing.assert_array_equal, *batches)


def test_a_source_that_does_not_fit_is_told(data: Path) -> None:
    """What is wrong with its first sequence, and later which one differs from it."""
    own = sequences(data)
    with pytest.raises(TypeError, match="data is a int"):
        open_sequences(3, MODEL)
    with pytest.raises(ValueError, match="the list is empty"):
        open_sequences([], MODEL)
    with pytest.raises(ValueError, match="missing: text"):
        open_sequences([{k: x for k, x in own[0].items() if k != "text"}], MODEL)
    with pytest.raises(ValueError, match=r"sequence 0 of the list is .*'prompt'"):
        open_sequences([own[0] | {"prompt": own[0]["text"]}], MODEL)
    with pytest.raises(ValueError, match="shape: video is"):
        open_sequences([own[0] | {"video": own[0]["video"][:, :2]}], MODEL)
    with pytest.raises(ValueError, match="range: action leaves"):
        open_sequences([own[0] | {"action": own[0]["action"] + 9}], MODEL)
    short = own[1] | {"text": own[1]["text"][:1]}
    with pytest.raises(ValueError, match="sequence 1 of the list has shapes"):
        open_sequences([own[0], short], MODEL).rows[1]
