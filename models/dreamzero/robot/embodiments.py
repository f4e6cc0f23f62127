"""The robots that DreamZero was made for: what they sense, what they do, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jax_stepcache.errors import unknown_name


@dataclass(frozen=True)
class Embodiment:
    """One robot, under the original's names.

    Hashable, so that it may be a static part of a jitted function's arguments.

    Attributes:
        name: the tag of its entry in the statistics' file.
        id: the original's number for it. It selects the form of the prompt; the
            published weights have a single embodiment and do not look at it.
        state_keys: parts of the robot's state, in the order of concatenation.
        action_keys: parts of an action, in the order of concatenation.
        relative_keys: the action keys that the network gives relative to the state
            key of the same name, taken when the chunk of actions begins. The others
            are absolute.
    """

    name: str
    id: int
    state_keys: tuple[str, ...]
    action_keys: tuple[str, ...]
    relative_keys: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Rejects keys that no statistics could fit.

        Raises:
            ValueError: if there are no state or action keys, one is there twice, or a
                relative key lacks its action or its state.
        """
        for field in ("state_keys", "action_keys", "relative_keys"):
            keys = getattr(self, field)
            if not isinstance(keys, tuple) or len(set(keys)) != len(keys):
                raise ValueError(f"{field} must be a tuple of unique names, got {keys}")
            if not keys and field != "relative_keys":
                raise ValueError(f"{field} is empty; {self.name!r} needs at least one")
        # The original leaves such a key absolute without a word.
        for key in self.relative_keys:
            if key not in self.action_keys or key not in self.state_keys:
                raise ValueError(
                    f"relative key {key!r} must be among both the action keys "
                    f"{list(self.action_keys)} and the state keys "
                    f"{list(self.state_keys)}"
                )


_DROID_KEYS = ("joint_position", "gripper_position")
_AGIBOT_KEYS = (
    "left_arm_joint_position",
    "right_arm_joint_position",
    "left_effector_position",
    "right_effector_position",
    "head_position",
    "waist_position",
)
_YAM_KEYS = (
    "left_joint_pos",
    "left_gripper_pos",
    "right_joint_pos",
    "right_gripper_pos",
)

EMBODIMENTS: Mapping[str, Embodiment] = MappingProxyType(
    {
        robot.name: robot
        for robot in (
            Embodiment(
                name="oxe_droid",
                id=17,
                state_keys=_DROID_KEYS,
                action_keys=_DROID_KEYS,
                relative_keys=("joint_position",),
            ),
            # Only the base's velocity, which is no part of the state, is absolute.
            Embodiment(
                name="agibot",
                id=26,
                state_keys=_AGIBOT_KEYS,
                action_keys=(*_AGIBOT_KEYS, "robot_velocity"),
                relative_keys=_AGIBOT_KEYS,
            ),
            # Here the grippers are relative too.
            Embodiment(
                name="yam",
                id=32,
                state_keys=_YAM_KEYS,
                action_keys=_YAM_KEYS,
                relative_keys=_YAM_KEYS,
            ),
        )
    }
)

_ALIASES = {"droid": "oxe_droid"}


def get_embodiment(name: str) -> Embodiment:
    """Finds a robot by name.

    Args:
        name: a key of `EMBODIMENTS`, or ``"droid"`` for ``"oxe_droid"``.

    Returns:
        The embodiment.

    Raises:
        ValueError: if there is none of that name.
    """
    known = [*EMBODIMENTS, *_ALIASES]
    if not isinstance(name, str) or name not in known:
        raise ValueError(unknown_name("embodiment", name, known))
    return EMBODIMENTS[_ALIASES.get(name, name)]
