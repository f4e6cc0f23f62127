"""``jax-stepcache calibrate``: which setting, told as a table and as JSON."""

import json

import pytest

from jax_stepcache import load_params
from jax_stepcache.calibration import thresholds
from jax_stepcache.cli import calibrate
from jax_stepcache.cli.main import main

from ..small_model import small_params


@pytest.fixture
def small(monkeypatch):
    """The command with the smallest model there is, and few thresholds."""

    def load(name):
        return small_params() if name == "small" else load_params(name)

    name, grid = thresholds.SWEPT["step_cache"]
    monkeypatch.setattr(thresholds, "SWEPT", {"step_cache": (name, grid[::4])})
    monkeypatch.setattr(calibrate, "load_params", load)
    return ["calibrate", "--params", "small", "--steps", "8"]


@pytest.mark.slow
def test_a_curve_is_printed_and_written(small, capsys, tmp_path):
    """Every setting of the curve has a line; the JSON has the setting to use."""
    path = tmp_path / "found.json"
    config = json.dumps({"velocity_skip_countdowns": [2, 1]})
    arguments = ["--cache", "step_cache", "--cache-config", config, "--calls", "6"]
    shared = ["--samples", "1", "--guidance-scale", "1", "--json", str(path)]
    assert main([*small, *arguments, *shared]) == 0
    printed = capsys.readouterr().out
    assert "as many plain steps: action" in printed
    assert "step_cache: model_calls 6 met with" in printed
    found = json.loads(path.read_text())
    assert found["cache"] == "step_cache"
    assert found["target"] == {"model_calls": 6.0}
    assert found["met"]
    assert 2 <= found["model_calls"] <= 6
    assert found["cache_config"]["velocity_skip_countdowns"] == [2, 1]
    assert len(found["cache_config"]["velocity_sim_thresholds"]) == 2
    assert len(found["curve"]) > 1
    for point in found["curve"]:
        assert f"{point['setting']:.4g}" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--psnr", "0"], "target psnr is 0.0; it must be above 0"),
        (["--calls", "-2"], "target model_calls is -2.0"),
        (["--calls", "3", "--cache", "tea_cash"], "Did you mean 'tea_cache'?"),
        (["--calls", "3", "--samples", "0"], "samples is 0"),
        (["--calls", "3", "--params", "digit"], "digit"),
    ],
)
def test_bad_input_is_one_line(small, arguments, words, capsys):
    """A mistake ends the command with one line and status 1."""
    assert main([*small, *arguments]) == 1
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


@pytest.mark.parametrize("targets", [[], ["--calls", "3", "--psnr", "30"]])
def test_one_target_is_asked_for(targets, capsys):
    """Calls or PSNR, one of them."""
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", *targets])
    assert ended.value.code == 2
    assert "--psnr" in capsys.readouterr().err


def test_a_target_that_nobody_reaches_writes_nothing(small, capsys, tmp_path):
    """One line says the best found; there is no file, not even half of one."""
    path = tmp_path / "found.json"
    config = json.dumps({"velocity_skip_countdowns": [2, 1]})
    arguments = ["--cache", "step_cache", "--cache-config", config, "--calls", "0.5"]
    shared = ["--samples", "1", "--guidance-scale", "1", "--json", str(path)]
    assert main([*small, *arguments, *shared]) == 1
    printed = capsys.readouterr()
    assert "meets model_calls 0.5; the nearest makes" in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out
    assert not list(tmp_path.iterdir())
