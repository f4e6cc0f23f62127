"""Figures of Meta-World's table come of the episodes that were played."""

import importlib.util

import numpy as np
import pytest

from tests.docs.pages import ROOT


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    file = ROOT / "benchmarks" / "meta_world.py"
    spec = importlib.util.spec_from_file_location("meta_world", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(**parts):
    each = {
        begin[1:]: {"success": said, "actions": 5, "calls": 4.0}
        for begin, said in parts.items()
    }
    return {"mark": "", "parts": each}


def test_differences_are_of_pairs_and_nothing_behind_a_gap_counts(benchmark):
    """Of a run that was stopped what follows from the first episode on, in both."""
    rows = {
        "uncached": row(_0="1111", _4="1101", _12="0000"),
        "plain-4": row(_0="1011", _4="1101"),
    }
    found = benchmark.behind(rows)
    assert found["uncached"]["episodes"] == 8
    assert found["uncached"]["success"] == 7 / 8
    away = np.array([0, 1, 0, 0, 0, 0, 0, 0])
    assert found["plain-4"]["behind"] == away.mean()
    np.testing.assert_allclose(found["plain-4"]["behind_error"], away.std() / 8**0.5)
    tasks = found["plain-4"]["tasks"]
    assert [one["success"] for one in tasks.values()] == [1.0, 0.5, 0.5, 1.0]
    assert "behind" not in found["uncached"]


def test_a_way_that_played_nothing_yet_has_no_figures(benchmark):
    found = benchmark.behind({"uncached": row(_0="1111"), "plain-4": row(_4="1111")})
    assert "success" not in found["plain-4"]
    assert "behind" not in found["plain-4"]


def test_rows_of_different_episodes_are_no_table(benchmark):
    """A share of more episodes than the others played is no fair one."""
    from world_tables import metaworld_table

    rows = {"uncached": row(_0="1111", _4="1111"), "plain-4": row(_0="1111")}
    with pytest.raises(ValueError, match=r"'uncached': 8, 'plain-4': 4"):
        metaworld_table(benchmark.behind(rows), "a machine")
    rows["uncached"] = row(_0="1101")
    told = metaworld_table(benchmark.behind(rows), "a machine")
    assert "4 episodes of each way" in told
    assert "75% ± 22%" in told
    assert "4 of 4" in told
