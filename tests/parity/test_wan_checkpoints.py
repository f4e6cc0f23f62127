"""Names of Wan's tensors: diffusers' and the original's are one set of weights."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from jax_stepcache.checkpoints.weights import flat
from jax_stepcache.models.wan import WanConfig, import_state_dict
from jax_stepcache.models.wan.checkpoint.names import to_diffusers, to_original

from . import recorded_wan as recorded
from .cases import params_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "file" in metafunc.fixturenames:
        recorded.cases(metafunc, "*_params.npz")


def test_recordings_without_their_parameters_fail(tmp_path: Path) -> None:
    """A folder whose parameters are misnamed has compared nothing: never green."""
    (tmp_path / "t2v_param.npz").touch()
    with pytest.raises(pytest.fail.Exception, match=r"there is no .*t2v_params\.npz"):
        params_of(tmp_path, "t2v")
    (tmp_path / "t2v_params.npz").touch()
    assert params_of(tmp_path, "t2v").name == "t2v_params.npz"


def test_names_are_the_originals(file: Path) -> None:
    """Both ways; and the weights are those of either file."""
    with np.load(file) as opened:
        arrays = {n: opened[n] for n in opened.files if n[:2] != "__"}
        said = opened.get("__original_names__")
        config = WanConfig.from_dict(json.loads(str(opened["__config__"])))
    names = {name: to_original(name) for name in arrays}
    assert said is None or names == json.loads(str(said))
    assert {to_diffusers(name): name for name in names.values()} == names
    weights = import_state_dict(config, arrays)
    renamed = import_state_dict(config, {names[n]: x for n, x in arrays.items()})
    jax.tree.map(np.testing.assert_array_equal, weights, renamed)
    wanted = recorded.network(file.parent, file.stem.removesuffix("_params")).weights
    given = flat(weights)
    for name, x in flat(wanted).items():
        np.testing.assert_array_equal(given[name], x)
    assert len(given) == len(flat(wanted))
