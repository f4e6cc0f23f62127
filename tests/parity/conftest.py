"""A run over recorded numbers must find some."""

from __future__ import annotations

import pytest

from .cases import found, vectors_dir


def pytest_collection_finish(session: pytest.Session) -> None:
    """A run that compares nothing must not pass."""
    if not found(session.config):
        raise pytest.UsageError(
            f"no recorded case was found in {vectors_dir(session.config)}"
        )
