"""What a control step returns."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.loop.result import Stats

from ..session.session import Session


class ControlStep(NamedTuple):
    """What a control step returns; a pytree.

    Attributes:
        session: the sessions after it, for the next call.
        video: (B, C, frames of a block, H, W) float32, the imagined latents.
        action: (B, actions, action_dim) float32, normalised.
        robot_action: the actions by name in the robot's units, (B, actions, n) each;
            None without statistics.
        begins: bool[B], which robots began a window with this step.
        first: (B, C, 1, H, W) the first frame of those windows.
        stats: which steps ran the network.
    """

    session: Session
    video: jax.Array
    action: jax.Array
    robot_action: dict[str, jax.Array] | None
    begins: jax.Array
    first: jax.Array
    stats: Stats

    def frames(self, robot: int = 0) -> jax.Array:
        """A robot's video as the original returns it: (C, frames, H, W).

        Where a window begins, its first frame stands before the imagined ones.
        """
        video = self.video[robot]
        if not self.begins[robot]:
            return video
        return jnp.concatenate([self.first[robot], video], axis=1)
