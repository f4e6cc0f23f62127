"""What a robot of any world sends: pictures, what it feels, and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.errors import brief, misnamed

from .model import WorldModel

IMAGE, STATE, PROMPT = "observation/image", "observation/state", "prompt"
SEED = "seed"
_NEEDED = (IMAGE, STATE, PROMPT)
_FARTHEST = 2.0  # of what a robot may feel
_MOST_SEED = 2**31 - 1


class Seen(NamedTuple):
    """A message, checked.

    Attributes:
        frames: float32 (n, side, side, 3) in [0, 1].
        state: float32 (components,), in the world's units.
        instruction: index of what it is told to do.
        seed: of its noise.
    """

    frames: np.ndarray
    state: np.ndarray
    instruction: int
    seed: int


def message_of(model: WorldModel) -> dict[str, str]:
    """What each key holds, for people.

    Args:
        model: the world's.

    Returns:
        By key, in words.
    """
    side, names = model.picture_size, ", ".join(model.instructions)
    return {
        IMAGE: f"uint8, or floats in [0, 1], ({side}, {side}, 3), or several: the "
        "pictures since the last message, of which the last two are seen. One at "
        "first, then two, one in the middle of the chunk of actions and one at its "
        "end; a single one is seen behind the last of before",
        STATE: f"({model.dit.max_state_dim},), {model.felt}, and -2 to 2 is taken",
        PROMPT: f"text that names one of {names}",
        SEED: "a whole number that draws the noise of the session's steps; 0 if it "
        "is not there",
    }


def read(model: WorldModel, message: Mapping[str, Any]) -> Seen:
    """Checks a message. Other keys than these are passed over.

    Args:
        model: the world's.
        message: ``observation/image`` (side, side, 3) or (n, side, side, 3), uint8 or
            float in [0, 1]; ``observation/state`` (components,); ``prompt``, which
            names one of the instructions; and ``seed``, if there is one.

    Returns:
        The message.

    Raises:
        ValueError: for what is missing or does not fit, naming its key.
        TypeError: for what is of another kind; likewise.
    """
    for key in _NEEDED:
        if key not in message:
            other = misnamed(key, message.keys() - {*_NEEDED, SEED})
            near = f" There is {other!r}: is that it?" if other else ""
            raise ValueError(
                f"the message lacks {key!r}.{near} Got {sorted(map(str, message))}"
            )
    return Seen(
        _image(model, message[IMAGE]),
        _state(model, message[STATE]),
        _instruction(model, message[PROMPT]),
        _seed(message.get(SEED, 0)),
    )


def _image(model: WorldModel, given: Any) -> np.ndarray:
    image, side = _array(IMAGE, given), model.picture_size
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


def _state(model: WorldModel, given: Any) -> np.ndarray:
    state, count = _array(STATE, given), model.dit.max_state_dim
    if state.shape != (count,) or state.dtype.kind not in "uif":
        raise ValueError(
            f"{STATE!r} is of dtype {state.dtype} and shape {state.shape}; send "
            f"{count} numbers, {model.felt}"
        )
    # No absolute values: that of the smallest integer is negative.
    near = (state >= -_FARTHEST) & (state <= _FARTHEST)
    if not near.all():  # also where they are no numbers
        raise ValueError(f"{STATE!r} is {brief(state.tolist())}; send {model.felt}")
    return state.astype(np.float32)


def _array(key: str, given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{key!r} is {brief(given)}, no array: {error}") from error


def _instruction(model: WorldModel, given: Any) -> int:
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given.item()
    if not isinstance(given, str):
        raise TypeError(f"{PROMPT!r} is {brief(given)}; send text")
    said, names = _words(given), model.instructions
    named = [i for i, name in enumerate(names) if _words(name) in said]
    if len(named) != 1:
        raise ValueError(
            f"{PROMPT!r} is {brief(given)}; name one of the {model.called}: "
            f"{', '.join(names)}"
        )
    return named[0]


def _words(text: str) -> str:
    """Words with a space before and behind each, whatever stood between them."""
    words = "".join(x if x.isalpha() else " " for x in text.lower()).split()
    return f" {' '.join(words)} "


def _seed(given: Any) -> int:
    if isinstance(given, np.ndarray | np.generic) and np.ndim(given) == 0:
        given = given.item()
    if not isinstance(given, int) or isinstance(given, bool):
        raise TypeError(f"{SEED!r} is {brief(given)}; send a whole number")
    if not 0 <= given <= _MOST_SEED:
        raise ValueError(f"{SEED!r} is {brief(given)}; send one of 0 to {_MOST_SEED}")
    return given
