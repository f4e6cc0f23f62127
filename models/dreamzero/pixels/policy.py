"""DreamZero served to robots, with the original's messages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_stepcache.serving.robots.policy import Reply

from ..control.quality import Quality
from .pipeline import DreamZeroPipeline
from .request import message_in_words
from .session import RobotSession
from .views import PREFIX

_FILE = "session.safetensors"
# Of a film: a robot that is never reset would otherwise fill the host's memory.
_KEPT = 8
_ROBOARENA = "oxe_droid"


class DreamZeroPolicy:
    """See `jax_stepcache.serving.robots.policy.Policy`.

    A message is what `read_request` takes.

    Attributes:
        metadata: of a DROID robot exactly what the original's server says.
        options: what a request may ask for.
        unavailable: what it may not, and why.
        variants: options that are compiled for, too.
        message: what its keys hold.
    """

    def __init__(
        self, pipeline: DreamZeroPipeline, most_steps: int | None = None
    ) -> None:
        """Serves a pipeline with encoders and statistics.

        Args:
            pipeline: the pipeline.
            most_steps: solver steps that a request may ask for; see `Quality`.

        Raises:
            ValueError: if it has no encoders.
        """
        if pipeline.senses is None:
            raise ValueError(
                "this pipeline has no encoders, so robots' messages cannot be read; "
                "DreamZeroPipeline.from_folder loads them"
            )
        self._pipeline, self._senses = pipeline, pipeline.senses
        self._quality = Quality(pipeline, most_steps)
        self.options: Mapping[str, str] = self._quality.options
        self.unavailable: Mapping[str, str] = self._quality.unavailable
        self.variants: Sequence[Mapping[str, Any]] = self._quality.variants
        self.message = message_in_words(self._senses.views, self._senses.statistics)
        self.metadata: Mapping[str, Any] = self._metadata()

    def open(self) -> RobotSession:
        """See `Policy.open`."""
        return self._pipeline.start()

    def check(
        self,
        session: RobotSession,
        message: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> str:
        """See `Policy.check`: pictures are encoded in calls for their sizes."""
        self._quality.asked(options)
        heard = self._senses.heard(session, message)
        sizes = [frames.shape[2:4] for frames in heard.frames.values()]
        return ", ".join(f"{height} x {width}" for height, width in sizes)

    def step_many(
        self,
        sessions: Sequence[RobotSession],
        messages: Sequence[Mapping[str, Any]],
        options: Sequence[Mapping[str, Any]],
    ) -> list[Reply]:
        """See `Policy.step_many`."""
        steps = self._pipeline.step_many(
            sessions,
            messages,
            each=[self._quality.asked(one) for one in options],
            slots=len(sessions),
            max_inference_steps=self._quality.most_steps,
        )
        computed = jax.device_get([step.stats.computed for step in steps])
        return [
            Reply(
                replace(step.session, film=step.session.film[-_KEPT:]),
                step.reply,
                np.asarray(ran, bool),
            )
            for step, ran in zip(steps, computed, strict=True)
        ]

    def reset(self, session: RobotSession) -> RobotSession:
        """See `Policy.reset`, and `DreamZeroPipeline.reset`."""
        return self._pipeline.reset(session)

    def film(self, session: RobotSession) -> np.ndarray:
        """See `Policy.film`: of the last eight steps at most."""
        # A step gives a block, and one frame more where it begins a window.
        room = _KEPT * (self._pipeline.model.dit.num_frame_per_block + 1)
        return self._pipeline.film(replace(session, film=session.film[-_KEPT:]), room)

    def save(self, folder: Path, session: RobotSession) -> None:
        """See `Policy.save`."""
        self._pipeline.save_session(folder / _FILE, session)

    def load(self, folder: Path) -> RobotSession:
        """See `Policy.load`."""
        session = self._pipeline.load_session(folder / _FILE)
        if not isinstance(session, RobotSession):
            raise ValueError(f"{folder} holds sessions of latents, no robot's")
        return session

    def examples(self, robots: int) -> list[list[dict[str, Any]]]:
        """See `Policy.examples`.

        A session begins with one frame, goes on with four, and begins a window with
        four, as where one is full or told something else. Each robot is told words of
        its own, for these are encoded together.
        """
        steps = ((1, "move"), (4, "move"), (4, "stop"))
        return [
            [self._example(frames, f"{word} {robot}") for robot in range(robots)]
            for frames, word in steps
        ]

    def _example(self, count: int, prompt: str) -> dict[str, Any]:
        height, width = self._resolution()
        frames = np.zeros((count, height, width, 3), np.uint8)
        statistics = self._senses.statistics
        widths = zip(
            statistics.embodiment.state_keys, statistics.state_dims, strict=True
        )
        return {
            **dict.fromkeys(self._senses.views.keys, frames),
            **{PREFIX + key: np.zeros(width, np.float32) for key, width in widths},
            "prompt": prompt,
        }

    def _resolution(self) -> tuple[int, int]:
        """What the cameras' pictures are best sent at."""
        sizes = self._senses.sizes
        if sizes.camera is not None:
            return sizes.camera
        # The 14B model's server asks for what DROID's cameras record.
        return (180, 320) if sizes.view == (176, 320) else sizes.view

    def _metadata(self) -> dict[str, Any]:
        said: dict[str, Any] = {"image_resolution": list(self._resolution())}
        views = self._senses.views
        if views.robot != _ROBOARENA:
            return {**said, "keys": [*views.keys, "prompt"]}
        # RoboArena's clients make an object of these, and take no others.
        return {
            **said,
            "needs_wrist_camera": True,
            "n_external_cameras": 2,
            "needs_stereo_camera": False,
            "needs_session_id": True,
            "action_space": "joint_position",
        }


def policy_of(pipeline: DreamZeroPipeline) -> DreamZeroPolicy:
    """What `jax_stepcache.serving.policy_server` serves a pipeline as."""
    return DreamZeroPolicy(pipeline)


def load_policy(
    source: str | os.PathLike[str], most_steps: int | None = None, **settings: Any
) -> DreamZeroPolicy:
    """What ``jax-stepcache serve`` serves a released folder as.

    Args:
        source: such as ``DreamZero-DROID``, downloaded.
        most_steps: see `DreamZeroPolicy`.
        **settings: of `DreamZeroPipeline.from_folder`.

    Returns:
        The policy.
    """
    return DreamZeroPolicy(
        DreamZeroPipeline.from_folder(source, **settings), most_steps
    )
