"""Meta-World's model: its sizes, what it is shown, and its bundled weights."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Params, load_params, sample
from jax_stepcache.models import metaworld
from jax_stepcache.models.dreamzero import init_weights
from jax_stepcache.models.metaworld import (
    MetaworldModel,
    config_of,
    metaworld_config,
    model_from_config,
)

MODEL = MetaworldModel(metaworld_config(dim=32, num_layers=1))


def test_its_configuration_finds_it_again():
    """Through JSON's dict, at any width and depth."""
    assert model_from_config(config_of(MODEL)) == MODEL


@pytest.mark.parametrize("name", ["action_dim", "max_state_dim", "text_dim"])
def test_a_model_of_other_sizes_is_refused(name):
    """Whose actions or states are not this world's, by the name of the size."""
    config = replace(MODEL.dit, **{name: 6})
    with pytest.raises(ValueError, match=f"{name} is 6, not 4"):
        MetaworldModel(config)


def test_a_task_that_there_is_not_is_refused():
    """An index out of range would be an empty prompt."""
    shown = MODEL.example(jax.random.key(0)) | {"instruction": jnp.array([4])}
    with pytest.raises(ValueError, match="has 4; the tasks are 0 to 3, reach"):
        MODEL.check_observation(shown)


def test_it_samples_chunks_in_the_worlds_units():
    """Pictures in [0, 1] and actions of four numbers, from what it is shown."""
    params = Params(init_weights(MODEL.dit, jax.random.key(0)), MODEL)
    shown = MODEL.example(jax.random.key(1), 2)
    result = sample(params, observation=shown, num_inference_steps=2)
    told = MODEL.decode(result.sample)
    assert told["video"].shape == (2, 2, 64, 64, 3)
    assert told["action"].shape == (2, 8, 4)
    assert 0 <= float(told["video"].min()) <= float(told["video"].max()) <= 1


def test_states_are_normalised_to_where_hands_are():
    """The corners of the space in which hands move are the corners of the cube."""
    corners = np.array([[-0.5, 0.4, 0, 0], [0.5, 1, 0.5, 1]], np.float32)
    wanted = np.array([[-1] * 4, [1] * 4], np.float32)
    np.testing.assert_allclose(MODEL.normalised_state(corners), wanted, atol=1e-6)


def test_the_bundled_weights_are_small_and_say_where_they_come_from():
    """At most 12 MB, with the configuration, command and commit that made them."""
    assert metaworld.WEIGHTS.stat().st_size <= 12_000_000
    account = json.loads(metaworld.WEIGHTS.with_suffix(".json").read_text())
    assert account["command"].startswith("python -m jax_stepcache.models.metaworld")
    assert len(account["commit"]) == 40
    assert account["steps_taken"] == account["settings"]["steps"]
    assert model_from_config(account["config"]) == load_params("metaworld").model
