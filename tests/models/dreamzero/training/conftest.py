"""Sequences on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from jax_stepcache.models.dreamzero.training import (
    save_chunks,
)

from .sequences import MODEL, random_chunks


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chunks")
    save_chunks(folder, random_chunks(MODEL, 4))
    return folder
