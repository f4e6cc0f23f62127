"""The tabletop served to robots: messages with pictures and words, whole sessions."""

from __future__ import annotations

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
from . import latent
from .message import IMAGE, MESSAGE, PROMPT, STATE, Seen, read
from .model import FRAMES, instruction_embedding, normalised_state
from .render import IMAGE_SIZE
from .world import MAX_STEP

_LATENTS, _TOLD = "latents.safetensors", "session.safetensors"


@dataclass(frozen=True, eq=False)
class TableSession:
    """What is remembered of a robot at its table. Never changed in place.

    Attributes:
        steps: control steps taken; each has noise of its own.
        colour: index of the colour that it is to reach, or None before the first.
        frames: its last pictures, float32 (n, 32, 32, 3) in [0, 1], n at most 2.
        latents: the transformer's session, or None before the first step.
        imagined: float32 (2, 32, 32, 3) in [0, 1], of the last step.
    """

    steps: int = 0
    colour: int | None = None
    frames: np.ndarray | None = None
    latents: Session | None = None
    imagined: np.ndarray | None = None


class TabletopPolicy:
    """See `jax_stepcache.serving.robots.policy.Policy`.

    A message has ``observation/image``, a picture or several, uint8 or float in [0, 1],
    ``observation/state``, the gripper's x and y, and ``prompt`` with a colour's name.

    Attributes:
        metadata: which keys a message has.
        options: what a request may ask for.
        unavailable: what it may not, and why.
        variants: options that are compiled for, too.
        message: what its keys hold.
    """

    def __init__(self, pipeline: LatentPipeline, most_steps: int | None = None) -> None:
        """Serves a pipeline of the tabletop's params.

        Args:
            pipeline: the pipeline.
            most_steps: solver steps that a request may ask for; see `Quality`.
        """
        self._pipeline = pipeline
        self._quality = Quality(pipeline, most_steps)
        self.options: Mapping[str, str] = self._quality.options
        self.unavailable: Mapping[str, str] = self._quality.unavailable
        self.variants: Sequence[Mapping[str, Any]] = self._quality.variants
        self.message: Mapping[str, str] = MESSAGE
        self.metadata: Mapping[str, Any] = {
            "policy": "tabletop",
            "image_resolution": [IMAGE_SIZE, IMAGE_SIZE],
            "keys": [IMAGE, STATE, PROMPT],
            "action_horizon": pipeline.model.dit.num_action_per_block,
            "action_space": "displacement",
        }

    def open(self) -> TableSession:
        """See `Policy.open`."""
        return TableSession()

    def check(
        self,
        session: TableSession,
        message: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        """See `Policy.check`."""
        del session
        read(message)
        self._quality.asked(options)

    def step_many(
        self,
        sessions: Sequence[TableSession],
        messages: Sequence[Mapping[str, Any]],
        options: Sequence[Mapping[str, Any]],
    ) -> list[Reply]:
        """See `Policy.step_many`."""
        seen = [read(message) for message in messages]
        each = [self._quality.asked(one) for one in options]
        frames = [_frames(one, now) for one, now in zip(sessions, seen, strict=True)]
        latents = [self._prompted(*one) for one in zip(sessions, seen, strict=True)]
        states = np.asarray(normalised_state(jnp.stack([now.state for now in seen])))
        encoded = np.asarray(_encoded(jnp.asarray(np.stack(frames))))
        shown = [
            {
                "state": state[None, None],
                "latents": pictures[None],
                "first": pictures[None, :, -1:],
            }
            for state, pictures in zip(states, encoded, strict=True)
        ]
        steps = self._pipeline.step_many(
            latents,
            shown,
            keys=[jax.random.key(session.steps) for session in sessions],
            each=each,
            slots=len(sessions),
            max_inference_steps=self._quality.most_steps,
        )
        told = jax.device_get([_decoded(step.video, step.action) for step in steps])
        computed = jax.device_get([step.stats.computed for step in steps])
        return [
            Reply(
                TableSession(
                    session.steps + 1, now.colour, pictures, step.session, video[0]
                ),
                np.asarray(action[0], np.float32),
                np.asarray(ran, bool),
            )
            for session, now, pictures, step, (video, action), ran in zip(
                sessions, seen, frames, steps, told, computed, strict=True
            )
        ]

    def reset(self, session: TableSession) -> TableSession:
        """See `Policy.reset`: all is forgotten."""
        del session
        return TableSession()

    def film(self, session: TableSession) -> np.ndarray:
        """See `Policy.film`."""
        if session.imagined is None:
            return np.zeros((0, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        return np.round(session.imagined * 255).astype(np.uint8)

    def save(self, folder: Path, session: TableSession) -> None:
        """See `Policy.save`."""
        told = {"steps": session.steps, "colour": session.colour}
        arrays = {
            name: np.asarray(value)
            for name in ("frames", "imagined")
            if (value := getattr(session, name)) is not None
        }
        save_weights(folder / _TOLD, arrays, {"tabletop": json.dumps(told)})
        if session.latents is not None:
            self._pipeline.save_session(folder / _LATENTS, session.latents)

    def load(self, folder: Path) -> TableSession:
        """See `Policy.load`."""
        arrays, metadata = load_weights(folder / _TOLD)
        if "tabletop" not in metadata:
            raise ValueError(f"{folder} holds no session of the tabletop")
        told = json.loads(metadata["tabletop"])
        file = folder / _LATENTS
        latents = self._pipeline.load_session(file) if file.exists() else None
        return TableSession(
            int(told["steps"]),
            told["colour"],
            arrays.get("frames"),
            latents,
            arrays.get("imagined"),
        )

    def examples(self, robots: int) -> list[list[dict[str, Any]]]:
        """See `Policy.examples`: a session begins, goes on, and is told another."""
        seen = {
            IMAGE: np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
            STATE: np.zeros(2, np.float32),
        }
        prompts = ("reach red", "reach red", "reach green")
        return [[{**seen, PROMPT: prompt}] * robots for prompt in prompts]

    def _prompted(self, session: TableSession, seen: Seen) -> Session:
        """The transformer's session, told what is to be reached."""
        if session.latents is not None and session.colour == seen.colour:
            return session.latents
        text = instruction_embedding(jnp.full(1, seen.colour, jnp.int32))
        negative = jnp.zeros_like(text) if self._pipeline.guided else None
        if session.latents is None:
            return self._pipeline.start(text, negative)
        return self._pipeline.prompt(session.latents, text, negative)


def policy_of(pipeline: LatentPipeline) -> TabletopPolicy:
    """What `jax_stepcache.serving.policy_server` serves a pipeline as."""
    return TabletopPolicy(pipeline)


def load_policy(
    source: str | os.PathLike[str], most_steps: int | None = None, **settings: Any
) -> TabletopPolicy:
    """What ``jax-stepcache serve`` serves the tabletop as.

    Args:
        source: see `jax_stepcache.load_params`.
        most_steps: see `TabletopPolicy`.
        **settings: of `DreamZeroPipeline`.

    Returns:
        The policy.

    Raises:
        ValueError: for another robot than its gripper, or what does not fit.
    """
    if "embodiment" in settings:
        raise ValueError("tabletop takes no --embodiment: it has one robot")
    pipeline = DreamZeroPipeline(load_params(source), **settings)
    return TabletopPolicy(pipeline, most_steps)


def _frames(session: TableSession, seen: Seen) -> np.ndarray:
    """The last two pictures, float32 (2, 32, 32, 3); a single one twice."""
    old = () if session.frames is None else (session.frames,)
    frames = np.concatenate([*old, seen.frames])[-FRAMES:]
    missing = FRAMES - len(frames)
    return np.concatenate([frames[:1].repeat(missing, axis=0), frames])


_encoded = jax.jit(latent.encode)


@jax.jit
def _decoded(video: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
    frames = jnp.clip(latent.decode(video), 0.0, 1.0)
    return frames, action * MAX_STEP
