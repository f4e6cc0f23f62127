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
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import batch_size, check_arrays
from jax_stepcache.checkpoints.layers import are_apart
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.explicit import under_automatic_axes
from jax_stepcache.network.guidance import stack_branches
from jax_stepcache.network.protocol import (
    OptimisedLevels,
    SamplingDefaults,
    TunedSchedule,
    TunedTable,
)
from jax_stepcache.network.tuned import TunedFile

from ..dreamzero import (
    DreamZeroCondition,
    DreamZeroConfig,
    DreamZeroModel,
    KVCache,
    bind,
)
from ..dreamzero import config_of as dreamzero_config_of
from ..observations import require_parts
from . import latent
from .render import COLOUR_NAMES, IMAGE_SIZE
from .world import MAX_STEP, observe, reset

FRAMES = 2
ACTIONS = 8
_NUM_COLOURS = len(COLOUR_NAMES)
# The instruction's words: "reach", then the colour.
_WORDS = 1 + _NUM_COLOURS

_SIDE = IMAGE_SIZE // latent.PATCH

TUNED = TunedFile(Path(__file__).with_name("tuned.json"))


def tabletop_config(dim: int = 96, num_layers: int = 4) -> DreamZeroConfig:
    """The transformer's sizes; the defaults are those of the bundled weights."""
    return DreamZeroConfig(
        model_type="ti2v",
        dim=dim,
        ffn_dim=4 * dim,
        num_heads=dim // 32,
        num_layers=num_layers,
        in_dim=latent.CHANNELS,
        out_dim=latent.CHANNELS,
        frame_seqlen=(IMAGE_SIZE // latent.PATCH // 2) ** 2,
        text_len=2,
        text_dim=_WORDS,
        freq_dim=64,
        num_frame_per_block=FRAMES,
        num_action_per_block=ACTIONS,
        action_dim=2,
        max_state_dim=2,
        hidden_size=dim,
        concat_first_frame_latent=False,
        image_dim=None,
    )


@dataclass(frozen=True)
class TabletopModel(DreamZeroModel):
    """A small DreamZero that looks at the tabletop's pictures and instructions.

    The network predicts the clean sample and the velocity is made of it,
    ``v = (x - x0) / sigma``: a token has 192 numbers and the network is 96 wide, so it
    could not carry the noise that a velocity contains.
    """

    latent_size: tuple[int, int] = (_SIDE, _SIDE)
    prediction: str = "sample"

    name = "tabletop"
    defaults = SamplingDefaults(
        num_inference_steps=16, shift=5.0, guidance_scale=2.0, solver="unipc"
    )

    def prepare(
        self, weights: Any, observation: Mapping[str, jax.Array], guided: bool
    ) -> DreamZeroCondition:
        """Encodes the instruction and prefills the camera's frame.

        Args:
            weights: nested dict of arrays.
            observation: see `observation_struct`; ``image`` may be uint8.
            guided: adds as many rows with an empty instruction.

        Returns:
            The condition, of batch or 2 * batch rows.
        """
        text = instruction_embedding(observation["instruction"])
        frame = latent.encode(as_float(observation["image"])[:, None])
        state = normalised_state(observation["state"])[:, None]
        if guided:
            text = stack_branches(text, jnp.zeros_like(text))
            frame, state = stack_branches((frame, state), (frame, state))
        dit = bind(self.dit, weights)
        context = dit.encode_context(text)
        # One slot: a control step sees one frame before the ones it imagines.
        apart = are_apart(weights)
        cache = KVCache.empty(self.dit, frame.shape[0], frames=1, apart=apart)
        return DreamZeroCondition(context, dit.prefill(frame, context, cache), state)

    def observation_struct(self, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of an observation.

        ``image`` is RGB in [0, 1] (or uint8), ``state`` the gripper's x and y on the
        unit table, ``instruction`` the index of a colour.
        """
        struct = jax.ShapeDtypeStruct
        return {
            "image": struct((batch, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.float32),
            "instruction": struct((batch,), jnp.int32),
            "state": struct((batch, 2), jnp.float32),
        }

    def check_observation(self, observation: Any) -> int:
        """See `Model.check_observation`."""
        require_parts(observation, self.observation_struct(1).keys())
        batch = batch_size(observation, "observation")
        wanted = self.observation_struct(batch)
        if jnp.result_type(observation["image"]) == jnp.uint8:
            shape = wanted["image"].shape
            wanted["image"] = jax.ShapeDtypeStruct(shape, jnp.uint8)
        check_arrays(dict(observation), wanted, "observation")
        check_colour(observation["instruction"], "observation['instruction']")
        return batch

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """Observations of freshly laid tables."""
        return _lay_tables(key, batch)

    def decode(self, sample: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Latents to frames, actions to displacements.

        Args:
            sample: as sampled.

        Returns:
            ``video`` float32[batch, 2, 32, 32, 3] in [0, 1] and ``action``
            float32[batch, 8, 2] in units of the table's side.
        """
        return _decoded(sample["video"], sample["action"])

    def encode(self, frames: jax.Array, actions: jax.Array) -> dict[str, jax.Array]:
        """Frames and displacements to a clean sample, the inverse of `decode`."""
        return {"action": actions / MAX_STEP, "video": latent.encode(frames)}

    def tuned(self, budget: int) -> TunedSchedule:
        """See `Model.tuned`."""
        return TUNED.schedule(budget)

    def bespoke(self, budget: int) -> TunedTable:
        """See `jax_stepcache.network.protocol.Tabled`."""
        return TUNED.table(budget)

    def optimised(self, num_steps: int) -> OptimisedLevels:
        """See `jax_stepcache.network.protocol.Spaced`."""
        return TUNED.levels(num_steps)

    def calibrated(self, backend: str, num_steps: int) -> dict[str, Any]:
        """See `jax_stepcache.network.protocol.Calibrated`."""
        del num_steps
        return TUNED.settings(backend) if self.dit == tabletop_config() else {}


@functools.partial(jax.jit, static_argnames="batch")
def _lay_tables(key: jax.Array, batch: int) -> dict[str, jax.Array]:
    keys = jax.random.split(key, (2, batch))
    return jax.vmap(observe)(jax.vmap(reset)(keys[0]), keys[1])


@jax.jit
def _decoded(video: jax.Array, action: jax.Array) -> dict[str, jax.Array]:
    def decode(of: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        frames = jnp.clip(latent.decode(of[0]), 0.0, 1.0)
        return {"action": of[1] * MAX_STEP, "video": frames}

    return under_automatic_axes(decode, (video, action))


def model_from_config(config: Mapping[str, Any]) -> TabletopModel:
    """Makes the model that a weights file describes in its header.

    Raises:
        ValueError: if the description is not of this model.
    """
    if set(config) != {"dit"}:
        raise ValueError(unknown_name("tabletop config", sorted(config), ["dit"]))
    return TabletopModel(DreamZeroConfig.from_dict(config["dit"]))


def config_of(model: TabletopModel) -> dict[str, Any]:
    """What `model_from_config` takes."""
    return {"dit": dreamzero_config_of(model)["dit"]}


def instruction_embedding(colour: jax.Array) -> jax.Array:
    """The words "reach" and a colour, as one-hot rows.

    Args:
        colour: int32[batch], index of the colour.

    Returns:
        float32[batch, 2, words]; the empty instruction is all zeros.

    Raises:
        ValueError: for the index of none.
    """
    check_colour(colour, "colour")
    reach = jnp.zeros_like(colour)
    return jax.nn.one_hot(jnp.stack([reach, 1 + colour], axis=1), _WORDS)


def check_colour(colour: Any, what: str) -> None:
    """Checks indices of colours: one that is out of range would be an empty word.

    Args:
        colour: integers; traced ones, and structs, cannot be looked at.
        what: the name of the argument, for the error.

    Raises:
        ValueError: if one is the index of no colour.
    """
    if isinstance(colour, Tracer | jax.ShapeDtypeStruct):
        return
    # Fetched in words, which a guard against transfers lets pass.
    numbers = np.asarray(jax.device_get(colour))
    wrong = numbers[(numbers < 0) | (numbers >= _NUM_COLOURS)]
    if wrong.size:
        raise ValueError(
            f"{what} has {wrong[0]}; the colours are 0 to {_NUM_COLOURS - 1}, "
            f"{', '.join(COLOUR_NAMES)}"
        )


def normalised_state(state: jax.Array) -> jax.Array:
    """The gripper's position on the unit table, as float32 in [-1, 1]."""
    return 2.0 * state.astype(jnp.float32) - 1.0


def as_float(image: jax.Array) -> jax.Array:
    """RGB in [0, 1], from that or from uint8."""
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32) / 255.0
    return image.astype(jnp.float32)
