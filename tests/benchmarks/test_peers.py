"""What stands beside PyTorch's caches: all are given the same, and none is made up."""

import importlib
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "peers"


@pytest.fixture
def peers(monkeypatch):
    """The script as a module; its neighbours are found as if it were run."""
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("run")


def test_all_are_given_the_same(peers, tmp_path):
    """What is written is what each process reads, weights by the originals' names."""
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=3) for name in ("a.weight", "a.b/c")}
    for contract in (peers.contract, peers.robot_contract):
        rest = [rng.normal(size=(2, i)) for i in range(len(contract.Given._fields) - 1)]
        given = contract.Given(weights, *rest)
        peers.contract.write_given(tmp_path / "given.npz", given)
        found = contract.read_given(tmp_path / "given.npz")
        assert found.weights.keys() == weights.keys()
        for name, x in weights.items():
            np.testing.assert_array_equal(found.weights[name], x)
        for x, y in zip(found[1:], rest, strict=True):
            np.testing.assert_array_equal(x, y)


def test_what_is_missing_is_said(peers, tmp_path):
    """No environment, or one that lacks a package: a line that says which."""
    told = peers.told_by(peers.OMNI, None, tmp_path, 1)
    assert "make peers" in told["missing"]
    told = peers.told_by("with_vllm_omni", peers.sys.executable, tmp_path, 1)
    assert "No module named" in told["missing"]


def test_rows_are_held_against_ours(peers):
    """Of the same case, in the race's order; a failure is a row with its words."""
    race = peers.RACES["SiT"]
    told = {
        "ours": {
            "rows": {
                "call": {"milliseconds": 2.0, "calls": 1},
                "uncached": {"milliseconds": 9.0, "calls": 16},
            },
            "answers": {"call": np.ones(2), "uncached": np.zeros(2)},
        },
        "with_diffusers": {"missing": "not here"},
        "plain_torch": {
            "rows": {
                "uncached, eager": {"failed": "RuntimeError: too cold"},
                "call, eager": {"milliseconds": 3.0, "calls": 1},
            },
            "answers": {"call, eager": np.array([1.0, 1.25])},
        },
    }
    rows = peers.compared(race, told)
    assert list(rows) == [
        "call: ours",
        "call: plain_torch, eager",
        "uncached: ours",
        "uncached: plain_torch, eager",
    ]
    assert rows["call: plain_torch, eager"]["apart"] == 0.25
    assert rows["uncached: plain_torch, eager"]["failed"] == "RuntimeError: too cold"
    assert rows["uncached: plain_torch, eager"]["apart"] is None
