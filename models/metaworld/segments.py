"""What was demonstrated, and the sequences of chunks that are cut from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .sizes import BETWEEN, CHUNK, FRAMES


class Segment(NamedTuple):
    """A stretch of an episode in which the expert was followed.

    Attributes:
        frames: uint8 (n + 1, 64, 64, 3), before the first action and after every four.
        states: float32 (4 n + 1, 4), before each action and after the last.
        actions: float32 (4 n, 4) in [-1, 1], what the expert would have done.
    """

    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray


class Sequence(NamedTuple):
    """Some chunks of a segment, as a robot in a session lives through them.

    Attributes:
        frames: uint8 (1 + 2 blocks, 64, 64, 3).
        states: float32 (blocks, 4), where each chunk begins.
        actions: float32 (8 blocks, 4).
    """

    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray


def sequences(segment: Segment, blocks: int) -> Iterator[Sequence]:
    """All sequences of a segment, one from each picture that has enough behind it.

    Args:
        segment: the segment; one that is too short has none.
        blocks: chunks of a sequence.

    Yields:
        Views of it.
    """
    length = CHUNK * blocks
    for first in range(len(segment.frames) - FRAMES * blocks):
        begin = BETWEEN * first
        yield Sequence(
            segment.frames[first : first + FRAMES * blocks + 1],
            segment.states[begin : begin + length : CHUNK],
            segment.actions[begin : begin + length],
        )
