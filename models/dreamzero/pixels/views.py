"""What each robot's cameras are called, and how they are shown and described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from jax_stepcache.errors import unknown_name

from ..robot.embodiments import EMBODIMENTS, get_embodiment

PREFIX = "observation/"


@dataclass(frozen=True)
class Views:
    """One robot's cameras. Hashable, to be a static argument of a jitted function.

    Attributes:
        robot: the embodiment's name.
        cameras: in the original's order.
        keys: what each is called in a request.
        wide_top: whether the last camera fills the top of the canvas, each column
            twice, above the first two; otherwise the first stands top left, the second
            bottom left, the third top right, and the last quarter is black.
        sentence: what is told of the views, between the instruction told twice.
    """

    robot: str
    cameras: tuple[str, ...]
    keys: tuple[str, ...]
    wide_top: bool
    sentence: str


def get_views(name: str) -> Views:
    """Finds a robot's cameras.

    Args:
        name: the embodiment, see `get_embodiment`.

    Returns:
        Its views.

    Raises:
        ValueError: if there is none of that name.
    """
    robot = get_embodiment(name)
    if robot.name not in VIEWS:
        raise ValueError(unknown_name("embodiment with cameras", robot.name, VIEWS))
    return VIEWS[robot.name]


def _keys(*cameras: str) -> tuple[str, ...]:
    return tuple(PREFIX + camera for camera in cameras)


_AGIBOT = ("top_head", "hand_left", "hand_right")
_YAM = ("top_camera-images-rgb", "left_camera-images-rgb", "right_camera-images-rgb")

# The original has a server for oxe_droid alone. The other robots' requests have the
# cameras' and the state's own names behind the same prefix.
VIEWS: Mapping[str, Views] = MappingProxyType(
    {
        "oxe_droid": Views(
            "oxe_droid",
            ("exterior_image_1_left", "exterior_image_2_left", "wrist_image_left"),
            # The original's server counts the exterior cameras from 0.
            _keys("exterior_image_0_left", "exterior_image_1_left", "wrist_image_left"),
            wide_top=True,
            sentence="The video is split into three views: The top view shows the "
            "camera view from the robot's wrist, the bottom-left view shows the camera "
            "view from the left exterior camera, and the bottom-right view shows the "
            "camera view from the right exterior camera. During training, one of the "
            "two bottom exterior views may be a black screen (dropped view).",
        ),
        "agibot": Views(
            "agibot",
            _AGIBOT,
            _keys(*_AGIBOT),
            wide_top=False,
            sentence="The video is split into four views: The top-left view shows the "
            "camera view from the robot's head, the top-right view shows the camera "
            "view from the right hand, the bottom-left view shows the camera view from "
            "the left hand, and the bottom-right view is a black screen (inactive "
            "view).",
        ),
        "yam": Views(
            "yam",
            _YAM,
            _keys(*_YAM),
            wide_top=False,
            sentence="The video is split into four views: The top-left view shows the "
            "top camera, the top-right view shows the right camera, the bottom-left "
            "view shows the left camera, and the bottom-right view is a black screen.",
        ),
    }
)

assert VIEWS.keys() <= EMBODIMENTS.keys()
