"""The command line of a training run."""

from __future__ import annotations

from jax_stepcache.models.dit.train import Settings
from jax_stepcache.models.training.command import run_parser, told


def test_a_command_changes_only_what_it_names():
    """What is not told keeps the settings' own value, and its type."""
    parser = run_parser("Train.", Settings())
    given = parser.parse_args(["--out", "run", "--steps", "7", "--learning-rate", "1"])
    assert told(given, Settings()) == Settings(steps=7, learning_rate=1.0)
    assert isinstance(told(given, Settings()).learning_rate, float)
    assert not given.resume
    assert given.stop_after is None
