"""What ships works: the bundled weights draw the digits that they are asked for."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache.models import dit

MEANS = Path(__file__).parents[2] / "data" / "dit" / "digit_means.npz"


@pytest.fixture(scope="module")
def params():
    return jax_stepcache.load_params("dit")


def test_the_file_is_small_and_says_where_it_comes_from(params):
    """At most 2 MB, with the configuration, command and seed that made it."""
    assert dit.WEIGHTS.stat().st_size <= 2_000_000
    account = json.loads(dit.WEIGHTS.with_suffix(".json").read_text())
    assert account["command"].startswith("python -m jax_stepcache.models.dit.train")
    assert account["config"] == dit.config_of(params.model)
    assert account["settings"]["seed"] == 0
    assert account["steps_taken"] == account["settings"]["steps"]
    assert account["quality"]["accuracy"] >= 0.95
    assert params.model == dit.DiTModel(dit.DIGITS)


def test_samples_show_the_digit_asked_for(params):
    """The nearest mean picture, which is right for nine real digits of ten, is right
    for as many samples; without a label it could be right for one of ten."""
    asked = np.tile(np.arange(10, dtype=np.int32), 6)
    result = jax_stepcache.sample(
        params, observation={"label": asked}, key=jax.random.key(5)
    )
    means = np.load(MEANS)["means"].reshape(10, -1)
    rows = np.asarray(result.sample).reshape(len(asked), 1, -1)
    nearest = np.square(rows - means).sum(axis=-1).argmin(axis=1)
    assert np.mean(nearest == asked) >= 0.9
    images = np.asarray(params.model.decode(result.sample)["image"])
    assert images.shape == (60, 8, 8, 1)
    # Ink and paper, and not the same picture each time.
    assert images.min() < 0.05
    assert images.max() > 0.95
    assert images[:10].std(axis=0).max() > 0.1
    assert images[::10].std(axis=0).max() > 0.1
