"""The statistics' file: read whole, or refused with all that is wrong."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.dreamzero.robot.embodiments import (
    EMBODIMENTS,
)
from jax_stepcache.models.dreamzero.robot.statistics import Statistics, load_statistics

from .machines import SMALL, WIDTHS, metadata, quantiles, small


@pytest.mark.parametrize("name", EMBODIMENTS)
@pytest.mark.parametrize("place", ["folder", "file", "text"])
def test_load(tmp_path, name, place):
    """The folder and the file both do; the order is the embodiment's, not its own."""
    file = tmp_path / "experiment_cfg" / "metadata.json"
    file.parent.mkdir()
    file.write_text(json.dumps(metadata(name)))
    path = {"folder": tmp_path, "file": file, "text": str(file)}[place]
    statistics = load_statistics(path, name)
    assert statistics.embodiment is EMBODIMENTS[name]
    for group in ("state", "action"):
        found = getattr(statistics, group)
        for ours, theirs in zip(
            found, quantiles(metadata(name), name, group), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs.astype(np.float32))
            assert ours.dtype == jnp.float32
    assert statistics.action_dims == tuple(WIDTHS[name].values())
    assert statistics.action_width == sum(WIDTHS[name].values())
    state_width = sum(WIDTHS[name][key] for key in EMBODIMENTS[name].state_keys)
    assert statistics.state_width == sum(statistics.state_dims) == state_width


def test_no_file(tmp_path):
    """A missing file is named in full."""
    with pytest.raises(FileNotFoundError, match=r"experiment_cfg.metadata\.json"):
        load_statistics(tmp_path, "droid")
    with pytest.raises(FileNotFoundError, match=r"other\.json"):
        load_statistics(tmp_path / "other.json", "droid")


@pytest.mark.parametrize("text", [b"", b"version https://", b'{"a": ', b"\xff\xfe"])
def test_not_json(tmp_path, text):
    """A file that is no JSON is named, with what is wrong."""
    (tmp_path / "metadata.json").write_bytes(text)
    with pytest.raises(ValueError, match=r"metadata\.json is not JSON"):
        load_statistics(tmp_path / "metadata.json", "droid")


@pytest.mark.parametrize("found", [{"oxe_droid_2": {}, "yam": {}}, [], 3, {}])
def test_no_tag(tmp_path, found):
    """A file without the robot says which ones it has, and the nearest."""
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps(found))
    with pytest.raises(ValueError, match=r"no statistics of this robot.*'oxe_dr") as no:
        load_statistics(file, "droid")
    assert str(file) in str(no.value)
    if isinstance(found, dict) and found:
        assert "Did you mean 'oxe_droid_2'?" in str(no.value)
        assert "['oxe_droid_2', 'yam']" in str(no.value)


def test_all_that_is_missing_is_listed():
    """One error names every key and quantile that the file lacks."""
    found = small(state__arm={"q01": [0.0, 0.0]}, action__hand={"mean": [0.0]})
    del found["small"]["statistics"]["state"]["hand"]
    with pytest.raises(ValueError, match="statistics of 'small' do not fit") as error:
        Statistics.from_metadata(found, SMALL, "here")
    for fault in (
        "here",
        "missing state.hand; state has ['arm']",
        "missing state.arm.q99",
        "missing action.hand.q01; missing action.hand.q99",
    ):
        assert fault in str(error.value)
    for entry in ({}, {"statistics": None}, {"statistics": {"state": [], "action": 1}}):
        with pytest.raises(
            ValueError, match=r"missing state\.arm; missing state\.hand"
        ):
            Statistics.from_metadata({"small": entry}, SMALL)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"q01": [0, 0], "q99": [1]}, r"action\.arm has 2 values of q01 and 1 of q99"),
        (
            {"q01": [0, 0, 0], "q99": [1, 1, 1]},
            r"relative and has 3 .*state\.arm has 2",
        ),
        (
            {"q01": [0, 2], "q99": [1, 1]},
            r"action\.arm has q01 > q99 in components \[1\]",
        ),
        (
            {"q01": [0, np.nan], "q99": [1, 1]},
            r"arm\.q01 must be a flat list of finite",
        ),
        ({"q01": [0, 0], "q99": [1, 1e300]}, r"arm\.q99 must be a flat list of finite"),
        ({"q01": [[0, 0]], "q99": [[1, 1]]}, "flat list"),
        ({"q01": [0, [1]], "q99": [1, 1]}, "flat list"),
        ({"q01": [], "q99": []}, "flat list"),
        ({"q01": ["0", "0"], "q99": [1, 1]}, "flat list"),
        ({"q01": None, "q99": 3}, r"q01 must be a flat list.*; .*q99 must be a flat"),
        ([1, 2], r"missing action\.arm\.q01; missing action\.arm\.q99"),
    ],
)
def test_quantiles_that_cannot_be(tmp_path, entry, message):
    """Lengths, order and finiteness are checked when the file is read."""
    file = tmp_path / "metadata.json"
    file.write_text(json.dumps(small(action__arm=entry)))
    with pytest.raises(ValueError, match=message):
        load_statistics(file, SMALL)
