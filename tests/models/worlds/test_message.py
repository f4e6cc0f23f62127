"""Messages of robots, whatever their world is."""

import numpy as np
import pytest

from jax_stepcache.models.metaworld import MetaworldModel, metaworld_config
from jax_stepcache.models.metaworld.tasks import NAMES
from jax_stepcache.models.worlds.message import message_of, read

MODEL = MetaworldModel(metaworld_config(dim=32, num_layers=1))


def message(**changed):
    sent = {
        "observation/image": np.zeros((64, 64, 3), np.uint8),
        "observation/state": np.array([0.0, 0.6, 0.2, 1.0]),
        "prompt": "reach",
    }
    return {**sent, **changed}


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_named_in_whatever_words_stand_around_it(name):
    """As Meta-World writes it, or with its words apart; not by half of them."""
    index = NAMES.index(name)
    for said in (name, f"Please {name.replace('-', ' ').upper()}!"):
        assert read(MODEL, message(prompt=said)).instruction == index
    with pytest.raises(ValueError, match=f"name one of the tasks.*{name}"):
        read(MODEL, message(prompt=f"{name[:-1]} it"))


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"prompt": "push and reach"}, ValueError, "'prompt' is"),
        ({"observation/image": np.zeros((32, 32, 3), np.uint8)}, ValueError, "64, 64"),
        ({"observation/state": np.zeros(2)}, ValueError, "send 4 numbers, the hand's"),
        ({"observation/state": np.full(4, 3.0)}, ValueError, "the hand's x, y and z"),
        ({"seed": -1}, ValueError, "'seed' is -1"),
        ({"seed": 2**31}, ValueError, "'seed' is 2147483648"),
        ({"seed": 0.5}, TypeError, "'seed' is 0.5"),
        ({"seed": True}, TypeError, "'seed' is True"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(changed, kind, words):
    with pytest.raises(kind, match=words):
        read(MODEL, message(**changed))


def test_a_seed_is_a_number_of_any_kind_and_none_is_zero():
    """As clients send them: Python's, NumPy's, an array of one."""
    assert read(MODEL, message()).seed == 0
    for seed in (7, np.int64(7), np.array(7)):
        assert read(MODEL, message(seed=seed)).seed == 7
    assert set(message_of(MODEL)) == {*message(), "seed"}
