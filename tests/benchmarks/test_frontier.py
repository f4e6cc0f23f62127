"""What the frontier's tables are chosen by; nothing is sampled here."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """Imports a script as a module; its neighbours are found as if it were run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def row(policy, calls, psnr, **other):
    """A row of a model that does not act."""
    measured = {"calls": calls, "psnr": psnr, "flops": 100.0 * calls, "seconds": 0.01}
    names = {"model": "toy", "policy": policy, "forecast": "hold", "solver": "unipc"}
    return {**names, **measured, "action_rmse": None, "success": None, **other}


ROWS = [
    row("uncached", 16.0, None),
    row("fewer_steps", 4.0, 30.0),
    row("fewer_steps", 8.0, 41.0),
    row("fewer_steps", 4.0, 20.0, solver="euler"),
    row("tea_cache, 0.1", 8.0, 40.0),
    row("tea_cache, 0.2", 6.0, 35.0, success=0.0),
    row("tea_cache, 0.3", 4.0, 29.0),
    row("cache_dit F1B0, 0.2", 8.0, 39.0),
    row("cache_dit F1B0, 0.3", 7.0, 37.0),
    row("tuned 4", 4.0, 33.0),
]


def test_best_within_a_share_of_the_operations(script):
    """Cached rows and plain steps each have a best one; a share is not exceeded."""
    frontier = script("frontier")
    best = frontier.best_within(ROWS, 0.25)
    assert (best["cache"]["policy"], best["plain"]["psnr"]) == ("tuned 4", 30.0)
    best = frontier.best_within(ROWS, 0.5)
    assert (best["cache"]["psnr"], best["plain"]["psnr"]) == (40.0, 41.0)
    assert frontier.best_within(ROWS, 0.1) == {}
    table = frontier.best_table(ROWS)
    assert [one["ahead"] for one in table.values()] == [
        "cache",
        "cache",
        "plain steps",
        "plain steps",
    ]


def test_the_readme_shows_one_row_of_each_backend(script):
    """The best of at most 6 calls or so, else the cheapest, then budgets in turn."""
    tables = script("tables")
    assert [(one["policy"], one["calls"]) for one in tables.choose(ROWS)] == [
        ("uncached", 16.0),
        ("tea_cache, 0.2", 6.0),
        ("cache_dit F1B0, 0.3", 7.0),
        ("tuned 4", 4.0),
        ("fewer_steps", 4.0),
        ("fewer_steps", 8.0),
    ]
    lines = tables.frontier_tables(ROWS).splitlines()
    assert lines[0] == "`toy`:"
    assert lines[2] == (
        "| policy | forecast | calls | operations | PSNR | success | time |"
    )
    assert lines[4] == "| uncached | hold | 16.00 | 100% | - | - | 10.0 ms |"
    assert lines[5] == (
        "| tea_cache, 0.2 | hold | 6.00 | 38% | 35.0 dB | 0.000 ± 0.008 | 10.0 ms |"
    )


def test_a_dial_is_turned_to_the_nearest_number_of_calls(script):
    """Calls fall as the threshold rises; what cannot be reached is left at its end."""
    contenders = script("contenders")
    scenes = SimpleNamespace(
        params=SimpleNamespace(model=script("jax_stepcache").load_model("dit")),
        calls=lambda cache: (
            16.0
            - 3.0 * (cache.gate.threshold > 0.1)
            - 6.0 * (cache.gate.threshold > 0.4)
        ),
    )
    dial = contenders.Dial("fbc", "first_block_cache", {}, (2, 6, 12))
    family = contenders._turned(scenes, (dial,))
    found = [float(one.policy.removeprefix("fbc, ")) for one in family]
    assert len(found) == 2
    assert 0.4 < found[0] < 0.45
    assert 0.37 < found[1] < 0.4


def test_few_calls_stand_beside_what_they_have_to_beat(script):
    """A row for each number of calls, and one for the actions of a model that acts."""
    few = script("few_tables")

    def one(kind, calls, decibels, **other):
        names = {"model": "toy", "kind": kind, "what": "unipc, linear", "calls": calls}
        psnr = {"psnr": decibels, "psnr_p5": decibels - 4, "ssim": 0.99}
        return {**names, **psnr, "psnr_256": 20.0, "psnr_p5_256": 19.0, **other}

    rows = [
        one("plain", 4, 28.0),
        one("best plain", 4, 32.0, action_rmse=0.002),
        one("bespoke", 4, 38.0, action_rmse=0.001),
        one("plain", 6, 33.0),
    ]
    lines = few.few_calls_tables(rows).splitlines()
    assert lines[4] == (
        "| 4 | 28.0 (24.0) | 32.0 (28.0), unipc, linear | - | - | "
        "38.0 (34.0) | 0.9900 | 20.0 (19.0) |"
    )
    assert lines[5].startswith("| 6 | 33.0 (29.0) | - | - |")
    assert "| 4 | - | 2.00 | - | - | 1.00 |" in lines
    played = {"kind": "plain", "calls": 4, "episodes": 2048, "success": 0.9}
    error = {"success_error": 0.007, "behind": 0.063, "behind_error": 0.0066}
    assert few.closed_loop_table([{**played, **error}]).splitlines()[-1] == (
        "| plain | 4 | 2,048 | 90.0% ± 0.7% | 6.30 ± 0.66 points |"
    )


def test_a_gated_cache_is_told_at_as_many_calls_and_at_as_many_operations(script):
    """The best within a little more, with its own figures; none of steps known before.

    A cache inside the network runs part of it at every step, so the two differ.
    """
    gated = script("gated_tables")
    inside = row("cache_dit F1B0, 0.3", 4.15, 36.0, flops=700.0)
    rows = [
        row("uncached", 16.0, None),
        row("fewer_steps", 4.0, 30.0),
        row("fewer_steps", 4.0, 31.0, solver="euler"),
        row("bespoke 4", 4.0, 40.0, solver="table"),
        row("tea_cache, 0.3", 4.3, 33.0, flops=431.0),
        row("tea_cache, 0.4", 4.1, 32.0),
        row("tea_cache, 0.5", 3.0, 20.0),
        inside,
        row("easy_cache, 0.1", 4.16, 50.0, flops=433.0),
        row("taylor_seer every 5", 4.0, 60.0),
        row("cache_dit, mask fast", 4.0, 70.0),
        row("cfg_cache every 2", 4.0, 80.0, flops=900.0),
    ]
    assert gated.at_calls(rows, "toy", 4) is inside
    assert gated.at_operations(rows, "toy", 4)["psnr"] == 33.0
    assert gated.known_before(rows, "toy", 4)["psnr"] == 70.0
    assert gated.at_calls(rows, "toy", 2) is None
    assert gated.gated_tables(rows, (2, 4)).splitlines()[4:] == [
        "| 4 | 25.0% | 30.0 | 36.0, `cache_dit` (4.15, 43.8%) | "
        "33.0, `tea_cache` (4.30, 26.9%) | 70.0, `cache_dit` (4.00, 25.0%) | 40.0 |"
    ]


def test_a_row_called_tuned_is_what_its_budget_takes(script):
    """A table where it won, though the schedule be nearer here; else by what it is."""
    tables = script("tables")
    rows = [*ROWS, row("bespoke 4", 4.0, 32.0), row("tuned 6", 6.0, 38.0)]

    def shown(won):
        lines = tables.costs_table(rows, won).splitlines()
        cells = [[cell.strip() for cell in line.split("|")] for line in lines[2:]]
        return {one[1]: one[4] for one in cells if "tea" not in one[1]}

    usual = {"uncached": "-", "fewer_steps, 4": "30.0 dB"}
    assert shown({"toy": {4, 6}}) == {
        **usual,
        "tuned, 4": "32.0 dB",
        "schedule, 6": "38.0 dB",
    }
    assert shown({}) == {**usual, "tuned, 4": "33.0 dB", "tuned, 6": "38.0 dB"}


def test_success_has_its_error(script):
    """A share of few episodes is not known to three digits, nor where all succeed."""
    tables = script("tables")
    assert tables.succeeded(0.5, 100) == "0.500 ± 0.050"
    assert tables.succeeded(1.0, 128) == "1.000 ± 0.008"


def test_episodes_are_compared_in_pairs(script):
    """Each way plays the same ones: what differs is how often just one of two wins."""
    episodes = script("episodes")
    np = script("numpy")
    whole = np.array([True] * 6 + [False] * 2)
    other = np.array([True] * 5 + [False, False, True])
    rows = [
        episodes._row(w, "", x) for w, x in (("uncached", whole), ("plain-4", other))
    ]
    uncached, plain = episodes.behind(rows)
    assert episodes.played(plain).tolist() == other.tolist()
    assert (uncached["success"], uncached["calls"], plain["calls"]) == (0.75, 16, 4)
    assert plain["behind"] == 0.0
    assert plain["behind_error"] == pytest.approx(np.sqrt(2 / 8) / np.sqrt(8))
    assert "behind" not in uncached
