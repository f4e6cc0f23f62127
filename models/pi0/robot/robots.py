"""Which keys a robot's messages have, and which of the actions are its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from jax_stepcache.errors import brief, unknown_name

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
        relative: how many of these, the first, pi0 says as differences from the state;
            0 for none. Or a bool for each, as openpi's ``make_bool_mask(6, -1, 6, -1)``
            makes them; those behind its end are no differences.
        relative_pi05: which pi0.5 does, likewise.
        says_state: whether a prompt of pi0.5 says the state.
    """

    name: str
    cameras: Mapping[str, str]
    state: tuple[str, ...]
    state_width: int
    actions: int
    relative: int | Sequence[bool] = 0
    relative_pi05: int | Sequence[bool] = 0
    says_state: bool = True

    def __post_init__(self) -> None:
        """Checks what goes together.

        Raises:
            ValueError: for a camera that the network has not, for no state, or more
                differences than numbers.
            TypeError: for differences that are neither counted nor marked.
        """
        for name in self.cameras:
            if name not in CAMERAS:
                raise ValueError(unknown_name("camera", name, CAMERAS))
        if not self.state or self.state_width < 1:
            raise ValueError(f"robot {self.name!r} has no state; name its keys")
        most = min(self.state_width, self.actions)
        for what in ("relative", "relative_pi05"):
            given: Any = getattr(self, what)
            if isinstance(given, int) and not isinstance(given, bool):
                count = given
            elif np.ndim(given) == 1 and np.asarray(given).dtype == bool:
                object.__setattr__(self, what, tuple(np.asarray(given).tolist()))
                count = 1 + max(np.flatnonzero(np.asarray(given)), default=-1)
            else:
                raise TypeError(
                    f"{what} is {brief(given)}; give how many, or a row of bools"
                )
            if not 0 <= count <= most:
                raise ValueError(
                    f"{what} is {brief(given)}; of {self.state_width} numbers of state "
                    f"and {self.actions} of an action at most {most} can be differences"
                )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and files have its cameras in a dict: a view of one is no value."""
        said = (getattr(self, field.name) for field in fields(self))
        plain = (dict(x) if isinstance(x, Mapping) else x for x in said)
        return type(self), tuple(plain)

    def differences(self, pi05: bool) -> np.ndarray:
        """Which numbers of an action are differences from the state.

        Args:
            pi05: whether pi0.5 says them.

        Returns:
            Their places, in order.
        """
        said = self.relative_pi05 if pi05 else self.relative
        return np.arange(said) if isinstance(said, int) else np.flatnonzero(said)


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
            relative=6,
            says_state=False,
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
