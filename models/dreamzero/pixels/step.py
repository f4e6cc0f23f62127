"""What a control step from a robot's message returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from jax_stepcache.loop.result import Stats

from ..control.step import ControlStep
from .session import RobotSession


@dataclass(frozen=True, eq=False)
class RobotStep:
    """What a control step returns for one robot.

    Attributes:
        session: after it, for the next message.
        control: the step of the transformer: latents, normalised actions.
        canvas: uint8 (1, T, H, W, 3), what the model was shown.
        begins: whether it began a window.
        action_keys: names of an action's parts, in order.
        decode: of a session the film; see `DreamZeroPipeline.film`.
    """

    session: RobotSession
    control: ControlStep
    canvas: jax.Array
    begins: bool
    action_keys: tuple[str, ...]
    decode: Callable[[RobotSession], np.ndarray]

    @property
    def robot_action(self) -> dict[str, jax.Array]:
        """The actions by name in the robot's units, (A, n) each, all absolute."""
        assert self.control.robot_action is not None  # a robot has statistics
        return {key: x[0] for key, x in self.control.robot_action.items()}

    @property
    def reply(self) -> np.ndarray:
        """What the original's server sends: float32 (A, n), the parts side by side."""
        said = jax.device_get(self.control.robot_action)
        parts = [np.asarray(said[key][0], np.float32) for key in self.action_keys]
        return np.concatenate(parts, axis=-1)

    @property
    def stats(self) -> Stats:
        """Which of the sampler's steps ran the network."""
        return self.control.stats

    def film(self) -> np.ndarray:
        """Decodes what the robot has imagined since its last reset, this step's last.

        Returns:
            uint8 (F, H, W, 3); see `DreamZeroPipeline.film`.
        """
        return self.decode(self.session)
