"""The robots that are known, and those that cannot be."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from functools import partial

import pytest

from jax_stepcache.models.dreamzero.robot.embodiments import (
    EMBODIMENTS,
    get_embodiment,
)
from jax_stepcache.models.dreamzero.robot.statistics import Statistics, load_statistics

from .machines import SMALL, WIDTHS


def test_embodiments_are_those_of_the_original():
    """Order, numbers and relative keys are those of the original's configurations."""
    droid, agibot, yam = (EMBODIMENTS[name] for name in ("oxe_droid", "agibot", "yam"))
    assert (droid.id, agibot.id, yam.id) == (17, 26, 32)
    assert droid.action_keys == ("joint_position", "gripper_position")
    assert droid.relative_keys == ("joint_position",)
    assert agibot.action_keys == (*agibot.state_keys, "robot_velocity")
    assert agibot.relative_keys == agibot.state_keys == tuple(WIDTHS["agibot"])[:-1]
    assert yam.relative_keys == yam.state_keys == yam.action_keys
    assert yam.state_keys == tuple(WIDTHS["yam"])
    assert get_embodiment("droid") is get_embodiment("oxe_droid") is droid
    assert {hash(robot) for robot in EMBODIMENTS.values()}
    with pytest.raises(TypeError):
        EMBODIMENTS["other"] = droid  # pyright: ignore[reportIndexIssue]
    with pytest.raises(FrozenInstanceError):
        droid.id = 0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", ["oxe_driod", "gr1_unified", "", None, ["yam"]])
def test_unknown_embodiment(tmp_path, name):
    """A name that is not known is refused with those that are, before any file."""
    for call in (
        get_embodiment,
        partial(load_statistics, tmp_path / "none"),
        partial(Statistics.from_metadata, {}),
    ):
        with pytest.raises(ValueError, match=r"unknown embodiment.*'agibot', 'droid'"):
            call(name)
    with pytest.raises(ValueError, match="Did you mean 'oxe_droid'"):
        get_embodiment("oxe_driod")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"state_keys": ()}, "state_keys is empty; 'small'"),
        ({"action_keys": ("arm", "arm")}, "action_keys must be a tuple of unique"),
        ({"state_keys": ["arm", "hand"]}, "state_keys must be a tuple"),
        ({"relative_keys": ("leg",)}, "relative key 'leg' must be among both"),
        ({"state_keys": ("hand",)}, "relative key 'arm' must be among both"),
    ],
)
def test_embodiment_that_cannot_be(changed, message):
    """A relative action needs a state of its name; keys are unique."""
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changed)
