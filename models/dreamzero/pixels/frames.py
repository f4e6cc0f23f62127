"""The last frames of each camera: what a robot's session remembers on the host."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

SHOWN = 4
"""Frames that a call shows the model, but for the first one, which shows one."""


class FrameBuffer(NamedTuple):
    """Frames by camera.

    Attributes:
        frames: uint8 (n, H, W, 3) of each camera, at most `SHOWN`; none at first.
    """

    frames: Mapping[str, np.ndarray] = MappingProxyType({})


def shown(
    buffer: FrameBuffer, pictures: Mapping[str, np.ndarray]
) -> tuple[FrameBuffer, dict[str, np.ndarray]]:
    """Appends a message's frames, and takes those that the model is shown.

    The first call shows the last frame, later ones the last `SHOWN`; where there are
    fewer, the oldest is repeated in front.

    Args:
        buffer: the session's.
        pictures: uint8 (n, H, W, 3) of each camera, n at least 1.

    Returns:
        The buffer after it, which shares no memory with what was given; and uint8
        (1 or 4, H, W, 3) of each camera.

    Raises:
        ValueError: for pictures of another size than the buffer's, by camera.
    """
    joined, taken = {}, {}
    for camera, new in pictures.items():
        old = buffer.frames.get(camera)
        if old is not None and old.shape[1:] != new.shape[1:]:
            raise ValueError(
                f"{camera} has pictures of {new.shape[1:]}; this session's are "
                f"{old.shape[1:]}, and a reset begins one with others"
            )
        both = new if old is None else np.concatenate([old, new])
        joined[camera] = np.array(both[-SHOWN:])
        if old is None:
            taken[camera] = joined[camera][-1:]
        else:
            missing = SHOWN - len(joined[camera])
            oldest = joined[camera][:1].repeat(missing, axis=0)
            taken[camera] = np.concatenate([oldest, joined[camera]])
    return FrameBuffer(joined), taken
