"""The tabletop's model: a tiny DreamZero that plans one chunk of actions.

One control step is one window: the camera's latent is prefilled into the KV cache, then
two future frames and eight actions are denoised together, under the instruction.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.network.protocol import SamplingDefaults
from jax_stepcache.network.tuned import TunedFile

from ..dreamzero import DreamZeroConfig
from ..worlds.configuration import described_sizes, world_config
from ..worlds.model import WorldModel, check_index
from . import latent
from .render import COLOUR_NAMES, IMAGE_SIZE
from .world import MAX_STEP, observe, reset

FRAMES = 2
ACTIONS = 8
# The instruction's words: "reach", then the colour.
_WORDS = 1 + len(COLOUR_NAMES)

_SIDE = IMAGE_SIZE // latent.PATCH


def tabletop_config(dim: int = 96, num_layers: int = 4) -> DreamZeroConfig:
    """The transformer's sizes; the defaults are those of the bundled weights."""
    return world_config(
        dim=dim,
        num_layers=num_layers,
        channels=latent.CHANNELS,
        frame_seqlen=(_SIDE // 2) ** 2,
        text=(2, _WORDS),
        chunk=(FRAMES, ACTIONS),
        action_dim=2,
        state_dim=2,
    )


@dataclass(frozen=True)
class TabletopModel(WorldModel):
    """A small DreamZero that looks at the tabletop's pictures and instructions."""

    latent_size: tuple[int, int] = (_SIDE, _SIDE)

    name = "tabletop"
    defaults = SamplingDefaults(
        num_inference_steps=16, shift=5.0, guidance_scale=2.0, solver="unipc"
    )
    picture_size = IMAGE_SIZE
    latent = latent
    instructions = COLOUR_NAMES
    called = "colours"
    felt = "the gripper's x and y; the table is [0, 1]"
    action_scale = MAX_STEP
    action_space = "displacement"
    tuned_file = TunedFile(Path(__file__).with_name("tuned.json"))

    def instruction_text(self, instruction: jax.Array) -> jax.Array:
        """The words of an instruction, one-hot."""
        return instruction_embedding(instruction)

    def normalised_state(self, state: jax.Array) -> jax.Array:
        """The gripper's position in [-1, 1]."""
        return normalised_state(state)

    @property
    def is_bundled(self) -> bool:
        """Whether the sizes are those of the bundled weights."""
        return self.has_sizes(tabletop_config())

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """Observations of freshly laid tables."""
        return _lay_tables(key, batch)


@functools.partial(jax.jit, static_argnames="batch")
def _lay_tables(key: jax.Array, batch: int) -> dict[str, jax.Array]:
    keys = jax.random.split(key, (2, batch))
    return jax.vmap(observe)(jax.vmap(reset)(keys[0]), keys[1])


def model_from_config(config: Mapping[str, Any]) -> TabletopModel:
    """Makes the model that a weights file describes; see `described_sizes`."""
    return TabletopModel(described_sizes(TabletopModel.name, config))


def instruction_embedding(colour: jax.Array) -> jax.Array:
    """The words "reach" and a colour, as one-hot rows.

    Args:
        colour: int32[batch], index of the colour.

    Returns:
        float32[batch, 2, words]; the empty instruction is all zeros.

    Raises:
        ValueError: for the index of none.
    """
    check_index(colour, "colour", COLOUR_NAMES, "colours")
    reach = jnp.zeros_like(colour)
    return jax.nn.one_hot(jnp.stack([reach, 1 + colour], axis=1), _WORDS)


def normalised_state(state: jax.Array) -> jax.Array:
    """The gripper's position on the unit table, as float32 in [-1, 1]."""
    return 2.0 * state.astype(jnp.float32) - 1.0
