"""Names of FLUX's tensors: diffusers' and the original's are one set of weights."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from jax_stepcache.models.flux import import_state_dict, state_dict_shapes

from . import recorded_flux as recorded


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    recorded.cases(metafunc, "*_params_original.npz")


def test_names_are_the_originals(file: Path) -> None:
    """The weights are those of either file, and no tensor is left over."""
    other = file.with_name(file.name.replace("_original", ""))
    config = recorded.config_of(other)
    tensors = recorded.tensors_of(file)
    shapes = {name: x.shape for name, x in tensors.items()}
    assert shapes == state_dict_shapes(config, "original")
    weights = import_state_dict(config, tensors)
    same = import_state_dict(config, recorded.tensors_of(other))
    jax.tree.map(np.testing.assert_array_equal, weights, same)
