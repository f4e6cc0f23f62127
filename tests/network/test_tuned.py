"""What calibrations have found, read from beside the weights."""

import json

import pytest

from jax_stepcache import Linear
from jax_stepcache.network.tuned import TunedFile

FOUND = {
    "num_steps": 16,
    "schedules": {
        "4": {
            "steps": [0, 4, 8, 12],
            "forecast": {"name": "linear", "damping": 0.5},
        },
        "10": {
            "steps": list(range(10)),
            "forecast": {"action": {"name": "hold"}, "video": {"name": "linear"}},
        },
    },
    "settings": {"mag_cache": {"mag_ratios": [1.0, 0.9]}},
}


@pytest.fixture
def tuned(tmp_path):
    path = tmp_path / "tuned.json"
    path.write_text(json.dumps(FOUND))
    return TunedFile(path)


def test_a_schedule_is_read(tuned):
    """Steps, step count and forecast, or one forecast for each output."""
    found = tuned.schedule(4)
    assert found.steps == (0, 4, 8, 12)
    assert found.num_steps == 16
    assert found.forecast == Linear(0.5)
    assert sorted(tuned.schedule(10).forecast) == ["action", "video"]


def test_an_unknown_budget_names_those_that_there_are(tuned):
    """In the order of numbers, not of strings."""
    with pytest.raises(ValueError, match=r"schedule of 5 model calls; .* \[4, 10\]"):
        tuned.schedule(5)


def test_settings_are_the_readers_own(tuned):
    """A backend that was not calibrated has none; changing them changes no file."""
    assert tuned.settings("tea_cache") == {}
    settings = tuned.settings("mag_cache")
    assert settings == {"mag_ratios": [1.0, 0.9]}
    settings.clear()
    assert tuned.settings("mag_cache") == {"mag_ratios": [1.0, 0.9]}


def test_a_file_that_is_not_there_has_found_nothing(tmp_path):
    """A model may be used before it is calibrated."""
    missing = TunedFile(tmp_path / "tuned.json")
    assert missing.settings("mag_cache") == {}
    with pytest.raises(ValueError, match=r"schedule of 4 model calls; there are \[\]"):
        missing.schedule(4)
