"""Meta-World's model: a small DreamZero that sees a table with a robot's arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.network.protocol import SamplingDefaults
from jax_stepcache.network.tuned import TunedFile

from ..dreamzero import DreamZeroConfig
from ..worlds.configuration import described_sizes, world_config
from ..worlds.model import WorldModel, check_index
from . import latent
from .examples import examples
from .sizes import ACTION_SIZE, CHUNK, FRAMES, IMAGE_SIZE, STATE_SIZE
from .tasks import NAMES

_SIDE = IMAGE_SIZE // latent.PATCH
# What of the sizes the world decides.
_OF_THE_WORLD = (
    "in_dim",
    "out_dim",
    "frame_seqlen",
    "text_len",
    "text_dim",
    "num_frame_per_block",
    "num_action_per_block",
    "num_state_per_block",
    "action_dim",
    "max_state_dim",
    "image_dim",
)
# Where the hand is in all of the tasks, in metres, and how far the gripper is open.
_LEAST, _MOST = (-0.5, 0.4, 0.0, 0.0), (0.5, 1.0, 0.5, 1.0)


def metaworld_config(dim: int = 128, num_layers: int = 6) -> DreamZeroConfig:
    """The transformer's sizes; the defaults are what ``make metaworld`` trains."""
    return world_config(
        dim=dim,
        num_layers=num_layers,
        channels=latent.CHANNELS,
        frame_seqlen=(_SIDE // 2) ** 2,
        text=(1, len(NAMES)),
        chunk=(FRAMES, CHUNK),
        action_dim=ACTION_SIZE,
        state_dim=STATE_SIZE,
    )


@dataclass(frozen=True)
class MetaworldModel(WorldModel):
    """A small DreamZero for four of Meta-World's tasks."""

    latent_size: tuple[int, int] = (_SIDE, _SIDE)

    name = "metaworld"
    # A task's name is always there, and the picture shows most of it: no guidance.
    defaults = SamplingDefaults(
        num_inference_steps=16, shift=5.0, guidance_scale=1.0, solver="unipc"
    )
    picture_size = IMAGE_SIZE
    latent = latent
    instructions = NAMES
    called = "tasks"
    felt = "the hand's x, y and z in metres, and how far the gripper is open"
    action_scale = 1.0
    action_space = "displacement of the hand in centimetres, effort of the gripper"
    tuned_file = TunedFile(Path(__file__).with_name("tuned.json"))

    def __post_init__(self) -> None:
        """Checks that the sizes are of this world; width and depth may be any.

        Raises:
            ValueError: naming each size that is not.
        """
        super().__post_init__()
        own = metaworld_config()
        wrong = [
            f"{name} is {getattr(self.dit, name)}, not {getattr(own, name)}"
            for name in _OF_THE_WORLD
            if getattr(self.dit, name) != getattr(own, name)
        ]
        if wrong:
            raise ValueError(
                "these are not the sizes of Meta-World's pictures, states and "
                f"actions: {'; '.join(wrong)}. metaworld_config(dim, num_layers) has "
                "these, at any width and depth"
            )

    def instruction_text(self, instruction: jax.Array) -> jax.Array:
        """A task's embedding, float32 (batch, 1, tasks); an empty one is all zeros."""
        check_index(instruction, "instruction", NAMES, "tasks")
        return jax.nn.one_hot(instruction[:, None], len(NAMES))

    def normalised_state(self, state: jax.Array) -> jax.Array:
        """Hand and gripper, float32 (..., 4) in [-1, 1]."""
        return normalised_state(state)

    @property
    def is_bundled(self) -> bool:
        """Whether the sizes are the defaults."""
        return self.has_sizes(metaworld_config())

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """First moments of episodes, drawn from the few that come with the library."""
        shown = examples()
        which = jax.random.randint(key, (batch,), 0, len(shown.state))
        return {
            "image": jnp.asarray(shown.image)[which].astype(jnp.float32) / 255,
            "instruction": jnp.asarray(shown.instruction)[which],
            "state": jnp.asarray(shown.state)[which],
        }


def normalised_state(state: Any) -> Any:
    """Hand and gripper, (..., 4) as float32 in [-1, 1], of NumPy or JAX."""
    least, most = np.array(_LEAST, np.float32), np.array(_MOST, np.float32)
    return 2 * (state.astype(np.float32) - least) / (most - least) - 1


def model_from_config(config: Mapping[str, Any]) -> MetaworldModel:
    """Makes the model that a weights file describes; see `described_sizes`."""
    return MetaworldModel(described_sizes(MetaworldModel.name, config))
