"""What a robot at the tabletop sends: a picture, its gripper, and words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.errors import brief, misnamed

from .render import COLOUR_NAMES, IMAGE_SIZE

IMAGE, STATE, PROMPT = "observation/image", "observation/state", "prompt"
MESSAGE: Mapping[str, str] = MappingProxyType(
    {
        IMAGE: f"uint8, or floats in [0, 1], ({IMAGE_SIZE}, {IMAGE_SIZE}, 3), or "
        "several: the pictures since the last message, of which the last two are "
        "seen. One at first, then two, one in the middle of the chunk of actions and "
        "one at its end; a single one is seen behind the last of before",
        STATE: "(2,), the gripper's x and y; the table is [0, 1], and -2 to 2 is taken",
        PROMPT: f"text that names one of {', '.join(COLOUR_NAMES)}",
    }
)
"""What each key holds, for people."""


class Seen(NamedTuple):
    """A message, checked.

    Attributes:
        frames: float32 (n, 32, 32, 3) in [0, 1].
        state: float32 (2,), the gripper's x and y on the unit table.
        colour: index of the colour to be reached.
    """

    frames: np.ndarray
    state: np.ndarray
    colour: int


def read(message: Mapping[str, Any]) -> Seen:
    """Checks a message. Other keys than its three are passed over.

    Args:
        message: ``observation/image`` (32, 32, 3) or (n, 32, 32, 3), uint8 or float in
            [0, 1]; ``observation/state`` (2,) on the unit table; ``prompt``, which
            names one of the colours.

    Returns:
        The message.

    Raises:
        ValueError: for what is missing or does not fit, naming its key.
        TypeError: for what is of another kind; likewise.
    """
    for key in (IMAGE, STATE, PROMPT):
        if key not in message:
            other = misnamed(key, message.keys() - MESSAGE.keys())
            near = f" There is {other!r}: is that it?" if other else ""
            raise ValueError(
                f"the message lacks {key!r}.{near} Got {sorted(map(str, message))}"
            )
    return Seen(
        _image(message[IMAGE]), _state(message[STATE]), _colour(message[PROMPT])
    )


def _image(given: Any) -> np.ndarray:
    image, side = _array(IMAGE, given), IMAGE_SIZE
    wanted = f"uint8 or float ({side}, {side}, 3), or several of them"
    if image.dtype != np.uint8 and image.dtype.kind != "f":
        raise ValueError(f"{IMAGE!r} has dtype {image.dtype}; send {wanted}")
    if (
        image.shape[-3:] != (side, side, 3)
        or image.ndim not in (3, 4)
        or not len(image)
    ):
        raise ValueError(f"{IMAGE!r} has shape {image.shape}; send {wanted}")
    frames = image if image.ndim == 4 else image[None]
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / 255
    if not (frames.min() >= 0 and frames.max() <= 1):  # also where they are no numbers
        raise ValueError(f"{IMAGE!r} has floats outside of [0, 1]")
    return frames.astype(np.float32)


def _state(given: Any) -> np.ndarray:
    state = _array(STATE, given)
    if state.shape != (2,) or state.dtype.kind not in "uif":
        raise ValueError(
            f"{STATE!r} is of dtype {state.dtype} and shape {state.shape}; send two "
            "numbers, x and y"
        )
    # No absolute values: that of the smallest integer is negative.
    if not ((state >= -2) & (state <= 2)).all():  # also where they are no numbers
        raise ValueError(f"{STATE!r} is {brief(state.tolist())}; the table is [0, 1]")
    return state.astype(np.float32)


def _array(key: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{key!r} is {brief(given)}, no array: {error}") from error


def _colour(given: Any) -> int:
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given.item()
    if not isinstance(given, str):
        raise TypeError(f"{PROMPT!r} is {brief(given)}; send text")
    words = "".join(x if x.isalpha() else " " for x in given.lower()).split()
    named = [i for i, name in enumerate(COLOUR_NAMES) if name in words]
    if len(named) != 1:
        raise ValueError(
            f"{PROMPT!r} is {brief(given)}; name one colour of {list(COLOUR_NAMES)}"
        )
    return named[0]
