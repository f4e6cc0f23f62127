"""What a robot sends, as openpi's clients do: pictures, numbers, words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.errors import brief, misnamed

from .robots import Robot

PROMPT = "prompt"


class Heard(NamedTuple):
    """A message, checked.

    Attributes:
        pictures: uint8 (H, W, 3), by the network's name of the camera.
        state: float32 (n,), in the robot's units.
        prompt: the words.
    """

    pictures: dict[str, np.ndarray]
    state: np.ndarray
    prompt: str


def message_in_words(robot: Robot) -> dict[str, str]:
    """Says of each key of a message what it holds, for people.

    Args:
        robot: whose message it is.

    Returns:
        Words by key.
    """
    picture = (
        "uint8, or floats in [0, 1], (H, W, 3) or (3, H, W): one, as the camera sees it"
    )
    together = "" if len(robot.state) == 1 else ", all together"
    numbers = f"numbers in the robot's units{together} {robot.state_width}"
    return {
        **dict.fromkeys(robot.cameras.values(), picture),
        **dict.fromkeys(robot.state, numbers),
        PROMPT: "text, what is to be done",
    }


def read(robot: Robot, message: Mapping[str, Any], prompt: str | None = None) -> Heard:
    """Checks a message. Keys that are not the robot's are passed over.

    Args:
        robot: whose message it is.
        message: pictures (H, W, 3) or (3, H, W), uint8 or floats in [0, 1]; numbers;
            ``prompt``.
        prompt: the words of who sends none; None if everybody must.

    Returns:
        The message.

    Raises:
        ValueError: for what is missing or does not fit, naming its key.
        TypeError: for what is of another kind; likewise.
    """
    if not isinstance(message, Mapping):
        raise TypeError(f"the message is {brief(message)}; send a map")
    wanted = [*robot.cameras.values(), *robot.state]
    for key in wanted if prompt is not None else [*wanted, PROMPT]:
        if key not in message:
            known = (*wanted, PROMPT)
            other = misnamed(key, [x for x in message if x not in known])
            near = f" There is {other!r}: is that it?" if other else ""
            raise ValueError(
                f"the message lacks {key!r}.{near} Got {sorted(map(str, message))}"
            )
    said = message.get(PROMPT, prompt)
    if not isinstance(said, str):
        raise TypeError(f"{PROMPT!r} is {brief(said)}; send text")
    pictures = {
        name: _picture(message[key], key) for name, key in robot.cameras.items()
    }
    return Heard(pictures, _state(robot, message), said)


def _picture(given: Any, key: str) -> np.ndarray:
    picture = _array(given, key)
    if picture.ndim == 3 and picture.shape[0] == 3 and picture.shape[2] != 3:
        picture = np.moveaxis(picture, 0, 2)
    fits = picture.ndim == 3 and picture.shape[2] == 3 and min(picture.shape) > 0
    if not fits or not (picture.dtype == np.uint8 or picture.dtype.kind == "f"):
        raise ValueError(
            f"{key!r} is {picture.dtype}{list(picture.shape)}; send a picture, uint8 "
            "or floats in [0, 1] of [rows, columns, 3]"
        )
    if picture.dtype.kind == "f":
        if not ((picture >= 0) & (picture <= 1)).all():
            raise ValueError(f"{key!r} has numbers outside [0, 1]")
        picture = (255 * picture).astype(np.uint8)
    return picture


def _state(robot: Robot, message: Mapping[str, Any]) -> np.ndarray:
    parts = []
    for key in robot.state:
        part = _array(message[key], key)
        if part.ndim > 1 or part.dtype.kind not in "fiu":
            raise ValueError(
                f"{key!r} is {part.dtype}{list(part.shape)}; send a few numbers"
            )
        part = np.atleast_1d(part).astype(np.float32)
        if not np.isfinite(part).all():
            raise ValueError(f"{key!r} has numbers that are not finite")
        parts.append(part)
    state = np.concatenate(parts)
    if len(state) != robot.state_width:
        raise ValueError(
            f"{' and '.join(map(repr, robot.state))} have {len(state)} numbers; a "
            f"{robot.name} has {robot.state_width}"
        )
    return state


def _array(given: Any, key: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key!r} is no array: {error}") from error
