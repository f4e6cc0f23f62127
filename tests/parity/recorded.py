"""Reading recorded runs of DreamZero."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_stepcache.models.dreamzero import DreamZeroConfig, import_state_dict
from jax_stepcache.models.sizes.parameters import Weights

TOLERANCE = 1e-4  # absolute, float32


@lru_cache(maxsize=4)
def arrays(file: Path) -> dict[str, np.ndarray]:
    """All arrays of a file, but for those recorded for finding mistakes."""
    with np.load(file) as recorded:
        return {name: recorded[name] for name in recorded.files if "/mid/" not in name}


def params_beside(file: Path, prefix: str) -> Path:
    """The file with the weights that a run was recorded with."""
    params = file.with_name(f"{prefix}_params.npz")
    if not params.exists():
        raise pytest.UsageError(f"{file} has no {params.name} beside it")
    return params


@lru_cache(maxsize=4)
def weights(
    params: Path, overrides: Path | None = None
) -> tuple[DreamZeroConfig, Weights]:
    """Configuration and weights; some of these as another file has them."""
    tensors = dict(arrays(params))
    config = DreamZeroConfig.from_dict(json.loads(str(tensors.pop("__config__"))))
    if overrides is not None:
        tensors |= part(arrays(overrides), "param_override/")
    return config, import_state_dict(config, tensors)


def part(recorded: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in recorded.items()
        if name.startswith(prefix)
    }


def assert_close(what: str, ours: jax.Array | np.ndarray, theirs: np.ndarray) -> None:
    """Shapes agree, and all values to the tolerance."""
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, what
    error = np.max(np.abs(ours - theirs))
    assert error <= TOLERANCE, f"{what}: max error {error:.2e}"
