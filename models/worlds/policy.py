"""A world's model as a policy: messages with pictures and words, whole sessions."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.checkpoints.weights import load_weights, save_weights
from jax_stepcache.network.registry import load_params
from jax_stepcache.serving.robots.policy import Reply

from ..dreamzero import DreamZeroPipeline, LatentPipeline, Session
from ..dreamzero.control.quality import Quality
from .message import IMAGE, PROMPT, STATE, Seen, message_of, read
from .model import WorldModel

_LATENTS, _TOLD = "latents.safetensors", "session.safetensors"


@dataclass(frozen=True, eq=False)
class RobotSession:
    """What is remembered of a robot. Never changed in place.

    Attributes:
        steps: control steps taken; each has noise of its own.
        instruction: index of what it is told to do, or None before the first step.
        frames: its last pictures, float32 (n, side, side, 3) in [0, 1], as many as a
            chunk has or fewer.
        latents: the transformer's session, or None before the first step.
        imagined: float32 (n, side, side, 3) in [0, 1], of the last step.
    """

    steps: int = 0
    instruction: int | None = None
    frames: np.ndarray | None = None
    latents: Session | None = None
    imagined: np.ndarray | None = None


class WorldPolicy:
    """See `jax_stepcache.serving.robots.policy.Policy`.

    A message has ``observation/image``, a picture or several, uint8 or float in [0, 1],
    ``observation/state``, what the robot feels, and ``prompt``, which names what it
    shall do.

    Attributes:
        metadata: which keys a message has.
        options: what a request may ask for.
        unavailable: what it may not, and why.
        variants: options that are compiled for, too.
        message: what its keys hold.
    """

    def __init__(
        self, pipeline: LatentPipeline, most_steps: int | None = None, **shared: Any
    ) -> None:
        """Serves a pipeline of a world's params.

        Args:
            pipeline: the pipeline.
            most_steps: solver steps that a request may ask for; see `Quality`.
            **shared: options of `LatentPipeline.step_many` for all requests.

        Raises:
            TypeError: for a pipeline of another model.
        """
        if not isinstance(pipeline.model, WorldModel):
            raise TypeError(f"{pipeline.model.name} acts in no world of its own")
        self._pipeline, self._model, self._shared = pipeline, pipeline.model, shared
        self._quality = Quality(pipeline, most_steps)
        self.options: Mapping[str, str] = self._quality.options
        self.unavailable: Mapping[str, str] = self._quality.unavailable
        self.variants: Sequence[Mapping[str, Any]] = self._quality.variants
        self.message: Mapping[str, str] = message_of(self._model)
        side = self._model.picture_size
        self.metadata: Mapping[str, Any] = {
            "policy": self._model.name,
            "image_resolution": [side, side],
            "keys": list(self.message),
            "action_horizon": self._model.dit.num_action_per_block,
            "action_space": self._model.action_space,
        }

    def open(self) -> RobotSession:
        """See `Policy.open`."""
        return RobotSession()

    def check(
        self,
        session: RobotSession,
        message: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        """See `Policy.check`."""
        del session
        read(self._model, message)
        self._quality.asked(options)

    def step_many(
        self,
        sessions: Sequence[RobotSession],
        messages: Sequence[Mapping[str, Any]],
        options: Sequence[Mapping[str, Any]],
    ) -> list[Reply]:
        """See `Policy.step_many`."""
        seen = [read(self._model, message) for message in messages]
        each = [self._quality.asked(one) for one in options]
        rows = list(zip(sessions, seen, strict=True))
        frames = [self._frames(*row) for row in rows]
        latents = [self._prompted(*row) for row in rows]
        states, encoded, keys = jax.device_get(
            _told(
                self._model,
                np.stack([now.state for now in seen]),
                np.stack(frames),
                np.array([(now.seed, one.steps) for one, now in rows], np.int32),
            )
        )
        shown = [
            {"state": state[None], "latents": x[None], "first": x[None, :, -1:]}
            for state, x in zip(states, encoded, strict=True)
        ]
        steps = self._pipeline.step_many(
            latents,
            shown,
            keys=list(jax.random.wrap_key_data(keys)),
            each=each,
            slots=len(sessions),
            max_inference_steps=self._quality.most_steps,
            **self._shared,
        )
        decode = self._model.decode
        told, computed = jax.device_get(
            (
                [decode({"video": x.video, "action": x.action}) for x in steps],
                [x.stats.computed for x in steps],
            )
        )
        return [
            Reply(
                RobotSession(
                    session.steps + 1,
                    now.instruction,
                    pictures,
                    step.session,
                    decoded["video"][0],
                ),
                np.asarray(decoded["action"][0], np.float32),
                np.asarray(ran, bool),
            )
            for (session, now), pictures, step, decoded, ran in zip(
                rows, frames, steps, told, computed, strict=True
            )
        ]

    def reset(self, session: RobotSession) -> RobotSession:
        """See `Policy.reset`: all is forgotten."""
        del session
        return RobotSession()

    def film(self, session: RobotSession) -> np.ndarray:
        """See `Policy.film`."""
        if session.imagined is None:
            side = self._model.picture_size
            return np.zeros((0, side, side, 3), np.uint8)
        return np.round(session.imagined * 255).astype(np.uint8)

    def save(self, folder: Path, session: RobotSession) -> None:
        """See `Policy.save`."""
        told = {"steps": session.steps, "instruction": session.instruction}
        arrays = {
            name: np.asarray(value)
            for name in ("frames", "imagined")
            if (value := getattr(session, name)) is not None
        }
        save_weights(folder / _TOLD, arrays, {self._model.name: json.dumps(told)})
        if session.latents is not None:
            self._pipeline.save_session(folder / _LATENTS, session.latents)

    def load(self, folder: Path) -> RobotSession:
        """See `Policy.load`."""
        arrays, metadata = load_weights(folder / _TOLD)
        if self._model.name not in metadata:
            raise ValueError(f"{folder} holds no session of {self._model.name}")
        told = json.loads(metadata[self._model.name])
        file = folder / _LATENTS
        latents = self._pipeline.load_session(file) if file.exists() else None
        return RobotSession(
            int(told["steps"]),
            told["instruction"],
            arrays.get("frames"),
            latents,
            arrays.get("imagined"),
        )

    def examples(self, robots: int) -> list[list[dict[str, Any]]]:
        """See `Policy.examples`: a session begins, goes on, and is told another."""
        side, names = self._model.picture_size, self._model.instructions
        seen = {
            IMAGE: np.zeros((side, side, 3), np.uint8),
            STATE: np.zeros(self._model.dit.max_state_dim, np.float32),
        }
        prompts = (names[0], names[0], names[1])
        return [[{**seen, PROMPT: prompt}] * robots for prompt in prompts]

    def _frames(self, session: RobotSession, seen: Seen) -> np.ndarray:
        """The last pictures, as many as a chunk has; those that are missing the first.

        Returns:
            float32 (frames, side, side, 3).
        """
        count = self._model.dit.num_frame_per_block
        old = () if session.frames is None else (session.frames,)
        frames = np.concatenate([*old, seen.frames])[-count:]
        missing = count - len(frames)
        return np.concatenate([frames[:1].repeat(missing, axis=0), frames])

    def _prompted(self, session: RobotSession, seen: Seen) -> Session:
        """The transformer's session, told what is to be done."""
        if session.latents is not None and session.instruction == seen.instruction:
            return session.latents
        text = self._model.instruction_text(jnp.full(1, seen.instruction, jnp.int32))
        negative = jnp.zeros_like(text) if self._pipeline.guided else None
        if session.latents is None:
            return self._pipeline.start(text, negative)
        return self._pipeline.prompt(session.latents, text, negative)


def policy_of(pipeline: LatentPipeline) -> WorldPolicy:
    """What `jax_stepcache.serving.policy_server` serves a pipeline as."""
    return WorldPolicy(pipeline)


def load_policy(
    source: str | os.PathLike[str], most_steps: int | None = None, **settings: Any
) -> WorldPolicy:
    """What ``jax-stepcache serve`` serves a world's model as.

    Args:
        source: see `jax_stepcache.load_params`.
        most_steps: see `WorldPolicy`.
        **settings: of `DreamZeroPipeline`.

    Returns:
        The policy.

    Raises:
        ValueError: for another robot than the world's own, or what does not fit.
    """
    params = load_params(source)
    if "embodiment" in settings:
        raise ValueError(f"{params.model.name} takes no --embodiment: it has one robot")
    return WorldPolicy(DreamZeroPipeline(params, **settings), most_steps)


@functools.partial(jax.jit, static_argnums=0)
def _told(
    model: WorldModel, states: jax.Array, frames: jax.Array, turns: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """States, latents and the data of keys: what all robots of a step go on with."""

    def key(turn: jax.Array) -> jax.Array:
        own = jax.random.fold_in(jax.random.key(turn[0]), turn[1])
        return jax.random.key_data(own)

    return (
        model.normalised_state(states)[:, None],
        model.latent.encode(frames),
        jax.vmap(key)(turns),
    )
