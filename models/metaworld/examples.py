"""What the camera sees as episodes begin: shown where there is no simulator.

    python -m jax_stepcache.models.metaworld.examples

makes them anew, with the simulator.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jax_stepcache.checkpoints.weights import load_weights, save_weights

from ..training.command import run_command
from .episodes import FIRST_SEED
from .tasks import NAMES

PATH = Path(__file__).with_name("examples.safetensors")
_OF_EACH = 4  # of each task


class Examples(NamedTuple):
    """First moments of episodes.

    Attributes:
        image: uint8[examples, 64, 64, 3].
        state: float32[examples, 4], see `world.Moment`.
        instruction: int32[examples], which task.
    """

    image: np.ndarray
    state: np.ndarray
    instruction: np.ndarray


@functools.cache
def examples() -> Examples:
    """Those that come with the library."""
    return Examples(**load_weights(PATH)[0])


def seen() -> Examples:
    """Looks at them; needs the simulator.

    Their tables are the last ones before those of demonstrations, where an evaluation
    would come only after half a million episodes.

    Raises:
        ImportError: without the simulator.
        OSError: where it cannot draw.
    """
    from .world import World

    pictures, states = [], []
    for task in NAMES:
        world = World(task)
        for i in range(_OF_EACH):
            states.append(world.reset(FIRST_SEED - 1 - i).state)
            pictures.append(world.picture())
        world.close()
    tasks = np.repeat(np.arange(len(NAMES), dtype=np.int32), _OF_EACH)
    return Examples(np.stack(pictures), np.stack(states), tasks)


def main() -> None:
    """Writes them."""
    save_weights(PATH, seen()._asdict(), {"examples": "metaworld"})
    print(PATH)


if __name__ == "__main__":
    sys.exit(run_command(main))
