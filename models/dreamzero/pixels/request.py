"""A robot's message: which keys it has, and the checks of what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.errors import brief, misnamed, warn

from ..robot.statistics import Statistics
from .views import PREFIX, Views

# How alike names are that are taken for slips. The original's robots send others that
# it does not read, such as cartesian_position beside joint_position.
_NEAR = 0.85


class Request(NamedTuple):
    """A message, checked.

    Attributes:
        pictures: uint8 (T, H, W, 3) by camera, under the original's names.
        state: float32 (1, n) by the state's keys, in the robot's units.
        prompt: the instruction, or None where there is none.
        session_id: which session it belongs to, or None.
    """

    pictures: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    prompt: str | None
    session_id: str | None


def message_in_words(views: Views, statistics: Statistics) -> dict[str, str]:
    """Says of each key of a message what it holds, for people.

    Args:
        views: the robot's cameras.
        statistics: the robot's quantiles, for the widths of its state.

    Returns:
        Words by key.
    """
    pictures = (
        "uint8, or floats in [0, 255], (H, W, 3) or (T, H, W, 3), of one size all "
        "session long and as many of each camera: the frames since the last message. "
        "One at first, then four. Of fewer the last of before are seen as well"
    )
    widths = zip(statistics.embodiment.state_keys, statistics.state_dims, strict=True)
    return {
        **dict.fromkeys(views.keys, pictures),
        **{
            PREFIX + key: f"({width},), in the robot's units; zeros where it is missing"
            for key, width in widths
        },
        "prompt": "text, what is to be done; no words where it is missing",
    }


def read_request(
    views: Views, statistics: Statistics, request: Mapping[str, Any]
) -> Request:
    """Checks a message, and takes what is read out of it.

    Other keys are passed over, as in the original, whose robots send more than it
    reads. For a state that is missing zeros stand, and for a prompt no words, both with
    a warning.

    Args:
        views: the robot's cameras.
        statistics: the robot's quantiles, for the widths of its state.
        request: for each camera uint8 (H, W, 3) or (T, H, W, 3), or floats in [0, 255],
            which are truncated; for each key of the state (n,); ``prompt`` and, where
            there is one, ``session_id``.

    Returns:
        The message.

    Raises:
        TypeError: if it is no mapping, or a value is of another kind.
        ValueError: for a camera that is missing, shapes, dtypes or values that do not
            fit, cameras with different numbers of frames, an empty prompt, or a key
            that nobody reads and that is nearly one that is missing.
    """
    if not isinstance(request, Mapping):
        raise TypeError(
            f"the request is a {type(request).__name__}; give a mapping with the keys "
            f"{[*views.keys, 'prompt']}"
        )
    known = {*message_in_words(views, statistics), "session_id"}
    unread = [key for key in map(str, request) if key not in known]
    pictures = {
        camera: _pictures(key, _taken(request, key, views, unread))
        for camera, key in zip(views.cameras, views.keys, strict=True)
    }
    counts = {
        key: len(pictures[camera])
        for key, camera in zip(views.keys, views.cameras, strict=True)
    }
    if len(set(counts.values())) > 1:
        raise ValueError(f"all cameras need the same number of frames, got {counts}")
    return Request(
        pictures,
        _state(statistics, request, unread),
        _prompt(request, unread),
        _session_id(request.get("session_id")),
    )


def _taken(
    request: Mapping[str, Any], key: str, views: Views, unread: Sequence[str]
) -> Any:
    if key not in request:
        other = misnamed(key, unread)
        near = f" There is {other!r}: is that it?" if other else ""
        given = sorted(map(str, request))
        raise ValueError(
            f"the request lacks {key!r}, a picture of {views.robot}'s.{near} Got "
            f"{given}"
        )
    return request[key]


def _check_slip(key: str, unread: Sequence[str], instead: str) -> None:
    """Raises where something else would stand for what was sent under a like name."""
    other = misnamed(key, unread, _NEAR)
    if other is not None:
        raise ValueError(
            f"the request lacks {key!r}, for which {instead} would stand. There is "
            f"{other!r}: is that it?"
        )


def _pictures(key: str, given: Any) -> np.ndarray:
    """uint8 (T, H, W, 3); a copy only where floats were given."""
    wanted = "uint8 (H, W, 3) or (T, H, W, 3)"
    pictures = _array(key, given, wanted)
    if pictures.dtype.kind not in "uif" or (
        pictures.dtype.kind in "ui" and pictures.dtype != np.uint8
    ):
        raise ValueError(f"{key} has dtype {pictures.dtype}; give {wanted}")
    if pictures.ndim == 3:
        pictures = pictures[None]
    if pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise ValueError(f"{key} has shape {np.shape(given)}; give {wanted}")
    if not pictures.size or min(pictures.shape[1:3]) < 2:
        raise ValueError(
            f"{key} has shape {np.shape(given)}; give {wanted}, of one frame or more "
            "and two rows and columns or more"
        )
    if pictures.dtype == np.uint8:
        return pictures
    low, high = float(pictures.min()), float(pictures.max())
    if not (low >= 0 and high <= 255):  # also where they are no numbers
        raise ValueError(
            f"{key} has floats from {low:g} to {high:g}; pictures are in [0, 255], "
            f"best as {wanted}"
        )
    if 0 < high <= 1 and (pictures % 1 != 0).any():
        raise ValueError(
            f"{key} has floats from {low:g} to {high:g}, which looks like pictures in "
            "[0, 1]; give them in [0, 255]"
        )
    return pictures.astype(np.uint8)


def _array(key: str, given: Any, wanted: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError:  # Lists of different lengths.
        raise ValueError(f"{key} is {brief(given)}; give an array {wanted}") from None


def _state(
    statistics: Statistics, request: Mapping[str, Any], unread: Sequence[str]
) -> dict[str, np.ndarray]:
    state, missing = {}, []
    keys = statistics.embodiment.state_keys
    for name, width in zip(keys, statistics.state_dims, strict=True):
        key = PREFIX + name
        if key not in request:
            _check_slip(key, unread, "zeros")
            missing.append(key)
            state[name] = np.zeros((1, width), np.float32)
            continue
        value = _array(key, request[key], f"({width},)")
        if value.dtype.kind not in "uif":
            raise ValueError(
                f"{key} is {brief(request[key])} of dtype {value.dtype}; give "
                f"{width} real numbers"
            )
        if value.shape not in ((width,), (1, width)):
            raise ValueError(f"{key} has shape {value.shape}; give ({width},)")
        with np.errstate(over="ignore"):
            state[name] = value.reshape(1, width).astype(np.float32)
        if not np.isfinite(state[name]).all():
            raise ValueError(
                f"{key} is {brief(value.tolist())}; it must be finite in float32"
            )
    if missing:
        warn(
            f"the request lacks {missing}; zeros stand for them, as in the original, "
            "and relative actions begin there"
        )
    return state


def _prompt(request: Mapping[str, Any], unread: Sequence[str]) -> str | None:
    if request.get("prompt") is None:
        _check_slip("prompt", unread, "no words")
        warn("the request lacks 'prompt'; no words stand for it, as in the original")
        return None
    prompt = request["prompt"]
    if isinstance(prompt, np.ndarray) and prompt.ndim == 0:
        prompt = prompt.item()
    if not isinstance(prompt, str):
        raise TypeError(
            f"'prompt' is {brief(prompt)}; give a string, what is to be done"
        )
    if not prompt.strip():
        raise ValueError("'prompt' is empty; say what is to be done")
    return str(prompt)


def _session_id(given: Any) -> str | None:
    if isinstance(given, np.ndarray) and given.ndim == 0:
        given = given.item()
    if given is not None and not isinstance(given, str | int):
        raise TypeError(f"'session_id' is {brief(given)}; give a string")
    return None if given is None else str(given)
