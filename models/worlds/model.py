"""A small DreamZero that looks at a picture and an instruction, and plans a chunk.

One control step is one window: the camera's latent is prefilled into the KV cache, then
the future frames and actions are denoised together, under the instruction.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import batch_size, check_arrays
from jax_stepcache.checkpoints.layers import are_apart
from jax_stepcache.meshes.explicit import under_automatic_axes
from jax_stepcache.network.bundled import Bundled
from jax_stepcache.network.guidance import stack_branches

from ..dreamzero import (
    DreamZeroCondition,
    DreamZeroConfig,
    DreamZeroModel,
    KVCache,
    bind,
)
from ..observations import require_parts

_RUN = ("dtype", "unroll", "attention")
"""Of a transformer's configuration what is of no weight."""


@dataclass(frozen=True)
class WorldModel(Bundled, DreamZeroModel):
    """What the models of all worlds do alike; each says what its own world is like.

    The network predicts the clean sample and the velocity is made of it,
    ``v = (x - x0) / sigma``: a token has 192 numbers and the network is about as wide,
    so it could not carry the noise that a velocity contains.

    Attributes:
        picture_size: pixels of a picture's side.
        latent: what makes latents of frames and back, with ``encode`` and ``decode``.
        instructions: what a robot may be told, by index.
        called: what these are, in errors.
        felt: what a robot's state is, in words.
        action_scale: what an action of 1 is in the world.
        action_space: what an action is, in words.
    """

    prediction: str = "sample"

    picture_size: ClassVar[int]
    latent: ClassVar[ModuleType]
    instructions: ClassVar[tuple[str, ...]]
    called: ClassVar[str]
    felt: ClassVar[str]
    action_scale: ClassVar[float]
    action_space: ClassVar[str]

    @abstractmethod
    def instruction_text(self, instruction: jax.Array) -> jax.Array:
        """Encoded prompts (batch, text_len, text_dim) of indices of instructions."""

    @abstractmethod
    def normalised_state(self, state: jax.Array) -> jax.Array:
        """A robot's state (..., max_state_dim), as float32 around [-1, 1]."""

    def has_sizes(self, sizes: DreamZeroConfig) -> bool:
        """Whether it has a transformer of some sizes, however it is run."""
        run = {name: getattr(self.dit, name) for name in _RUN}
        return self.dit == replace(sizes, **run)

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
        text = self.instruction_text(observation["instruction"])
        frame = self.latent.encode(as_float(observation["image"])[:, None])
        state = self.normalised_state(observation["state"])[:, None]
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

        ``image`` is RGB in [0, 1] (or uint8), ``state`` the robot's in the world's
        units, ``instruction`` the index of what it is told.
        """
        struct, side = jax.ShapeDtypeStruct, self.picture_size
        return {
            "image": struct((batch, side, side, 3), jnp.float32),
            "instruction": struct((batch,), jnp.int32),
            "state": struct((batch, self.dit.max_state_dim), jnp.float32),
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
        told = observation["instruction"]
        check_index(told, "observation['instruction']", self.instructions, self.called)
        return batch

    def decode(self, sample: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Latents to frames, actions to the world's units.

        Args:
            sample: as sampled.

        Returns:
            ``video`` float32[batch, frames, side, side, 3] in [0, 1] and ``action``
            float32[batch, actions, components].
        """
        return _decoded(
            self.latent.decode, self.action_scale, sample["video"], sample["action"]
        )

    def encode(self, frames: jax.Array, actions: jax.Array) -> dict[str, jax.Array]:
        """Frames and actions to a clean sample, the inverse of `decode`."""
        return {
            "action": actions / self.action_scale,
            "video": self.latent.encode(frames),
        }


def check_index(index: Any, what: str, names: tuple[str, ...], called: str) -> None:
    """Checks indices of names: one that is out of range would be an empty word.

    Args:
        index: integers; traced ones, and structs, cannot be looked at.
        what: the name of the argument, for the error.
        names: what they are indices of.
        called: what the names are called.

    Raises:
        ValueError: if one is the index of none.
    """
    if isinstance(index, Tracer | jax.ShapeDtypeStruct):
        return
    # Fetched in words, which a guard against transfers lets pass.
    numbers = np.asarray(jax.device_get(index))
    wrong = numbers[(numbers < 0) | (numbers >= len(names))]
    if wrong.size:
        raise ValueError(
            f"{what} has {wrong[0]}; the {called} are 0 to {len(names) - 1}, "
            f"{', '.join(names)}"
        )


def as_float(image: jax.Array) -> jax.Array:
    """RGB in [0, 1], from that or from uint8."""
    if image.dtype == jnp.uint8:
        return image.astype(jnp.float32) / 255.0
    return image.astype(jnp.float32)


@partial(jax.jit, static_argnums=(0, 1))
def _decoded(
    decode: Any, scale: float, video: jax.Array, action: jax.Array
) -> dict[str, jax.Array]:
    def decoded(of: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        frames = jnp.clip(decode(of[0]), 0.0, 1.0)
        return {"action": of[1] * scale, "video": frames}

    return under_automatic_axes(decoded, (video, action))
