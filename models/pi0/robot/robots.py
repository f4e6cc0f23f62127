"""Which keys a robot's messages have, and which of the actions are its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jax_stepcache.errors import unknown_name

from ..model import CAMERAS


@dataclass(frozen=True)
class Robot:
    """How openpi shows a robot's message to the network.

    Attributes:
        name: of the robot.
        cameras: of some of the network's pictures the message's key; the others are
            black, and told to be missing.
        state: keys of the message whose numbers, one after the other, are the state.
        state_width: how many numbers these are.
        actions: how many components of an action are the robot's.
        relative: how many of these, the first, the network says as differences from
            the state; 0 for none.
    """

    name: str
    cameras: Mapping[str, str]
    state: tuple[str, ...]
    state_width: int
    actions: int
    relative: int = 0


_FIRST, _LEFT, _ = CAMERAS
ROBOTS: Mapping[str, Robot] = MappingProxyType(
    {
        "droid": Robot(
            name="droid",
            cameras=MappingProxyType(
                {
                    _FIRST: "observation/exterior_image_1_left",
                    _LEFT: "observation/wrist_image_left",
                }
            ),
            state=("observation/joint_position", "observation/gripper_position"),
            state_width=8,
            actions=8,
        ),
        "libero": Robot(
            name="libero",
            cameras=MappingProxyType(
                {_FIRST: "observation/image", _LEFT: "observation/wrist_image"}
            ),
            state=("observation/state",),
            state_width=8,
            actions=7,
        ),
    }
)
"""By name. DROID says joint velocities or positions, and LIBERO displacements."""


def get_robot(name: str | Robot) -> Robot:
    """A robot by its name.

    Args:
        name: the name, or a `Robot` of your own.

    Returns:
        The robot.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(name, Robot):
        return name
    if name not in ROBOTS:
        raise ValueError(unknown_name("robot", name, ROBOTS))
    return ROBOTS[name]
