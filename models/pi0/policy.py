"""pi0 served to robots, with openpi's messages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_stepcache.paths import as_path
from jax_stepcache.serving.robots.policy import Reply

from ..dreamzero.control.quality import Quality
from .pipeline import Pi0Pipeline
from .robot.message import PROMPT, message_in_words, read

_FILE = "steps.json"


class Pi0Policy:
    """See `jax_stepcache.serving.robots.policy.Policy`.

    A session is the number of its steps, which draws their noise: openpi's policies
    keep nothing between two messages.

    Attributes:
        metadata: which keys a message has.
        options: what a request may ask for.
        unavailable: what it may not, and why.
        variants: options that are compiled for, too.
        message: what its keys hold.
    """

    def __init__(self, pipeline: Pi0Pipeline, most_steps: int | None = None) -> None:
        """Serves a pipeline.

        Args:
            pipeline: the pipeline.
            most_steps: solver steps that a request may ask for; see `Quality`.
        """
        self._pipeline = pipeline
        self._quality = Quality(pipeline, most_steps)
        self.options: Mapping[str, str] = self._quality.options
        self.unavailable: Mapping[str, str] = self._quality.unavailable
        self.variants: Sequence[Mapping[str, Any]] = self._quality.variants
        self.message: Mapping[str, str] = message_in_words(pipeline.robot)
        robot, config = pipeline.robot, pipeline.model.config
        self.metadata: Mapping[str, Any] = {
            "policy": "pi05" if config.pi05 else "pi0",
            "robot": robot.name,
            "image_resolution": [config.image_size, config.image_size],
            "keys": [*robot.cameras.values(), *robot.state, PROMPT],
            "action_horizon": config.action_horizon,
        }

    def open(self) -> int:
        """See `Policy.open`."""
        return 0

    def check(
        self, session: int, message: Mapping[str, Any], options: Mapping[str, Any]
    ) -> str:
        """See `Policy.check`: a picture is resized in a call for its size."""
        del session
        self._quality.asked(options)
        heard = read(self._pipeline.robot, message, self._pipeline.default_prompt)
        sizes = {picture.shape[:2] for picture in heard.pictures.values()}
        return ", ".join(f"{height} x {width}" for height, width in sorted(sizes))

    def step_many(
        self,
        sessions: Sequence[int],
        messages: Sequence[Mapping[str, Any]],
        options: Sequence[Mapping[str, Any]],
    ) -> list[Reply]:
        """See `Policy.step_many`."""
        steps = self._pipeline.step_many(
            messages,
            keys=[jax.random.key(session) for session in sessions],
            each=[self._quality.asked(one) for one in options],
            slots=len(messages),
            max_inference_steps=self._quality.most_steps,
        )
        return [
            Reply(session + 1, step.actions, np.asarray(step.stats.computed, bool))
            for session, step in zip(sessions, steps, strict=True)
        ]

    def reset(self, session: int) -> int:
        """See `Policy.reset`."""
        del session
        return 0

    def film(self, session: int) -> np.ndarray:
        """See `Policy.film`: it imagines none."""
        del session
        size = self._pipeline.model.config.image_size
        return np.zeros((0, size, size, 3), np.uint8)

    def save(self, folder: Path, session: int) -> None:
        """See `Policy.save`."""
        (folder / _FILE).write_text(json.dumps(session))

    def load(self, folder: Path) -> int:
        """See `Policy.load`."""
        said = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        if not isinstance(said, int) or isinstance(said, bool) or said < 0:
            raise ValueError(f"{folder} holds no session of a pi0, but {said!r:.80}")
        return said

    def examples(self, robots: int) -> list[list[dict[str, Any]]]:
        """See `Policy.examples`: every step is alike."""
        pipeline = self._pipeline
        size, robot = pipeline.model.config.image_size, pipeline.robot
        numbers = np.zeros(robot.state_width, np.float32)
        first, *rest = robot.state
        seen = {
            **{
                key: np.zeros((size, size, 3), np.uint8)
                for key in robot.cameras.values()
            },
            **dict.fromkeys(rest, numbers[:1]),
            first: numbers[len(rest) :],
            PROMPT: "move",
        }
        return [[seen] * robots]


def policy_of(pipeline: Pi0Pipeline) -> Pi0Policy:
    """What `jax_stepcache.serving.policy_server` serves a pipeline as."""
    return Pi0Policy(pipeline)


def load_policy(
    source: str | os.PathLike[str],
    most_steps: int | None = None,
    *,
    embodiment: str = "droid",
    **settings: Any,
) -> Pi0Policy:
    """What ``jax-stepcache serve`` serves a released folder as.

    Args:
        source: openpi's folder, downloaded, with its tokenizer in it.
        most_steps: see `Pi0Policy`.
        embodiment: the robot's name; see `Pi0Pipeline`.
        **settings: of `Pi0Pipeline.from_folder`.

    Returns:
        The policy.

    Raises:
        ValueError: for a guidance scale; as `Pi0Pipeline.from_folder`.
    """
    if "guidance_scale" in settings:
        raise ValueError("a pi0 has no guidance; leave out guidance_scale")
    folder = as_path(source)
    return Pi0Policy(
        Pi0Pipeline.from_folder(folder, robot=embodiment, **settings), most_steps
    )
