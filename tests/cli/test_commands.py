"""The ``jax-stepcache`` command, as a user types it."""

import warnings

import pytest

from jax_stepcache.cli import info
from jax_stepcache.cli.main import main


def test_sample_prints_the_strip(capsys, tmp_path):
    """`sample` says which steps ran."""
    assert main(["sample", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "of 16 steps ran the model" in printed
    assert "█" in printed
    assert "·" in printed


@pytest.mark.slow
def test_compare_shows_the_baselines_and_writes_a_picture(capsys, tmp_path):
    """`sample --compare` never shows a cache without fewer plain steps beside it."""
    assert main(["sample", "--compare", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for row in ("uncached", "step_cache", "tuned", "plain steps"):
        assert row in printed
    assert [path.name for path in tmp_path.iterdir()] == ["sample.png"]
    assert (tmp_path / "sample.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_rollout_counts_successes_and_writes_a_film(capsys, tmp_path):
    """`rollout` plays paired episodes of every row."""
    command = ["rollout", "--episodes", "4", "--steps", "6", "--cache", "static"]
    mask = '{"steps_mask": [true, true, false, true, false, true]}'
    assert main([*command, "--cache-config", mask, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "uncached" in printed
    assert "4 plain steps" in printed
    assert (tmp_path / "rollout.gif").read_bytes().startswith(b"GIF8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "--cache", "step_cash"], "Did you mean 'step_cache'?"),
        (["sample", "--params", "tabletpo"], "Did you mean 'tabletop'?"),
        (["sample", "--steps", "0"], "must be at least 1"),
        (["sample", "--schedule", "karas"], "Did you mean 'karras'?"),
        (
            ["sample", "--schedule", "optimised", "--steps", "7"],
            "no optimised noise levels of 7 steps",
        ),
        (["sample", "--schedule", "linear", "--shift", "3"], "levels are its own"),
        (["sample", "--cache", "tuned", "--budget", "99"], "no tuned schedule of 99"),
        (["rollout", "--episodes", "0"], "must be at least 1"),
        (["rollout", "--server", "ws://x"], "--server is for --params metaworld"),
        (
            ["rollout", "--params", "metaworld", "--server", "ws://x", "--steps", "4"],
            "--server brings its own num_inference_steps",
        ),
        (
            ["rollout", "--server", "ws://x", "--cache", "tuned", "--budget", "4"],
            "--server brings its own cache, budget",
        ),
    ],
)
def test_bad_input_is_one_line(arguments, words, capsys, tmp_path):
    """A mistake ends the command with one line and status 1, not with a traceback."""
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert "Traceback" not in printed


def test_rollout_of_a_model_without_a_world(capsys):
    """One line says so; the command is for models that act."""
    assert main(["rollout", "--params", "dit", "--episodes", "2"]) == 1
    told = capsys.readouterr().err
    assert (
        "dit does not act in a world of its own; 'tabletop' and 'metaworld' do" in told
    )
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_picture_that_is_not_drawn_is_told(capsys, tmp_path):
    """Digits have no frames to lay side by side."""
    command = ["sample", "--params", "dit", "--steps", "4", "--compare", "--cache"]
    options = ["static", "--cache-config", '{"steps_mask": [1, 0, 1, 1]}']
    assert main([*command, *options, "--out", str(tmp_path)]) == 0
    assert "no picture: dit makes no video" in capsys.readouterr().out


def test_warnings_are_a_line(capsys, monkeypatch):
    """Without a line of code; those of libraries, and of others later, as usual."""
    usual, where = warnings.formatwarning, ("x.py", 3, "odd()")

    def run(parsed):
        print(warnings.formatwarning("odd", UserWarning, *where), end="")
        assert warnings.formatwarning("old", DeprecationWarning, *where) == usual(
            "old", DeprecationWarning, *where
        )

    monkeypatch.setattr(info, "run", run)
    assert main(["info", "tabletop"]) == 0
    assert capsys.readouterr().out == "jax-stepcache: warning: odd\n"
    assert warnings.formatwarning is usual
