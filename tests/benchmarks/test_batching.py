"""The comparison of ways to batch: what it counts, and what it writes."""

import heapq
import importlib
import json
from pathlib import Path

import pytest

from tests.small_model import small_params

FOLDER = Path(__file__).parents[2] / "benchmarks"
REQUIRED = {
    "requests",
    "slots",
    "calls",
    "ideal_calls",
    "waiting_groups_calls",
    "batch_mean_calls",
    "throughput_gain",
}


@pytest.fixture
def batching(monkeypatch):
    """The script as a module; its neighbours are found as if it were run."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("batching")


def greedy(work, slots):
    """Calls until all is done, if a free slot takes the next request at once."""
    busy = [0] * slots
    for calls in work:
        heapq.heapreplace(busy, busy[0] + calls)
    return max(busy)


@pytest.mark.slow
def test_it_counts_calls_and_writes_them(batching, monkeypatch, tmp_path, capsys):
    """The counts are those that follow from what each request takes alone."""
    file = tmp_path / "batching.json"
    monkeypatch.setattr(batching.jax_stepcache, "load_params", lambda _: small_params())
    # Two kinds, as each step count is compiled.
    kinds = {
        "short": batching.Kind(0.5, 6, (0.05, 0.15)),
        "long": batching.Kind(0.5, 9, (1e-6, 1e-5)),
    }
    monkeypatch.setattr(batching, "KINDS", kinds)
    monkeypatch.setattr(batching, "MAX_STEPS", 9)
    options = ["--requests", "4", "--slots", "2", "--repeats", "1"]
    batching.main([*options, "--params", "small", "--json", str(file)])

    written = json.loads(file.read_text())
    assert written.keys() == REQUIRED | {"sorted_groups_calls", "models"}
    row = written["models"]["small"]
    assert row.keys() >= REQUIRED
    assert {name: row[name] for name in REQUIRED} == {
        name: written[name] for name in REQUIRED
    }
    requests = batching.make_requests(small_params(), 4, seed=0)
    alone = batching.sample_alone(small_params(), requests)
    work = [int(one.stats.model_calls) for one in alone]
    assert row["ideal_calls"] == sum(work) / 2
    steps = [one.num_inference_steps for one in requests]
    longest_first = sorted(range(4), key=lambda i: -steps[i])
    assert row["calls"] == greedy([work[i] for i in longest_first], 2)
    assert row["waiting_groups_calls"] == max(work[:2]) + max(work[2:])
    assert row["many_redecided"] == 0
    assert row["many_max_difference"] < 1e-4
    assert "sample_many" in capsys.readouterr().out

    with pytest.raises(ValueError, match="not sampled together"):
        batching.network_calls(alone)


def test_the_mix_is_drawn_from_the_seed(batching):
    """The same seed, the same requests; all kinds, and thresholds in their ranges."""
    params = small_params()
    requests = batching.make_requests(params, 40, seed=3)
    again = batching.make_requests(params, 40, seed=3)
    assert [one.cache_config for one in requests] == [one.cache_config for one in again]
    kinds = {kind.num_steps: kind for kind in batching.KINDS.values()}
    assert {one.num_inference_steps for one in requests} == set(kinds)
    for one in requests:
        first, second = one.cache_config["velocity_sim_thresholds"]
        least, most = kinds[one.num_inference_steps].slack
        assert least <= 1 - first <= most
        assert second < first


def test_totals_and_the_smallest_gain(batching):
    """Counts add up over the models; of the gains the smallest is told."""
    row = dict.fromkeys(REQUIRED | {"sorted_groups_calls"}, 3) | {
        "throughput_gain": 1.5,
        "slots": 8,
    }
    told = batching.summary({"a": row, "b": row | {"throughput_gain": 2.0}})
    assert (told["calls"], told["slots"], told["throughput_gain"]) == (6, 8, 1.5)


def test_lockstep_groups_have_one_step_count(batching):
    """They are formed in the order of arrival; another group is refused."""
    requests = [
        batching.Request(num_inference_steps=steps) for steps in (8, 16, 8, 8, 16)
    ]
    assert batching.lockstep_groups(requests, 2) == [[0, 2], [3], [1, 4]]
    with pytest.raises(ValueError, match="one step count"):
        batching.sample_lockstep(small_params(), requests)


@pytest.mark.parametrize("option", ["--requests", "--slots", "--repeats"])
def test_counts_below_one_are_refused(batching, option, capsys):
    """Before any weights are loaded."""
    with pytest.raises(SystemExit):
        batching.main([option, "0"])
    assert f"{option} must be at least 1, got 0" in capsys.readouterr().err
