"""Step-computation masks are the original's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jax_stepcache import steps_mask

from .cases import caches_files, parametrize


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    files = caches_files(metafunc.config, "scm_masks.json")
    parametrize(metafunc, "masks", files, [f"caches-{f.name}" for f in files])


def test_masks_match_original(masks: Path) -> None:
    """Step-computation masks by policy and step count are cache-dit's, every one."""
    recorded = json.loads(masks.read_text())
    for name, mask in recorded.items():
        count, policy = name.split("/")
        ours = steps_mask(int(count), policy)
        assert ours.tolist() == [bool(x) for x in mask], name
        assert ours.any()
        assert not ours.all()
