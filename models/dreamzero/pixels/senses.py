"""Everything between a robot's message and the transformer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.errors import brief, naming
from jax_stepcache.loop.transfers import sent

from ..model import DreamZeroModel
from ..robot.statistics import Statistics
from .canvas import PictureSizes, canvas
from .encoders import (
    Encoders,
    begin_window,
    check_encoders,
    default_sizes,
    film_of,
    go_on,
)
from .session import Heard, RobotSession, heard
from .views import Views, get_views
from .windows import conditioning


@dataclass(frozen=True, eq=False)
class Senses:
    """A robot's senses in front of a model: what is fixed, and the encoders.

    Attributes:
        encoders: the frozen networks.
        sizes: of pictures on their way.
        views: the robot's cameras.
        statistics: the robot's quantiles.
        model: the transformer.
    """

    encoders: Encoders
    sizes: PictureSizes
    views: Views
    statistics: Statistics
    model: DreamZeroModel

    @property
    def whole_resets(self) -> bool:
        """Whether a reset forgets position and id, see `after_reset`."""
        return not self.model.dit.concat_first_frame_latent

    def heard(self, session: RobotSession, message: Mapping[str, Any]) -> Heard:
        """Reads a message into a session; see `session.heard`."""
        return heard(
            self.encoders,
            self.views,
            self.statistics,
            session,
            message,
            window=self.model.dit.window,
            whole_resets=self.whole_resets,
        )

    def canvas(self, frames: Mapping[str, np.ndarray]) -> jax.Array:
        """Sends frames to the device, and puts them on their canvases there.

        Args:
            frames: by camera, uint8 (B, T, H, W, 3).

        Returns:
            uint8 (B, T, 2 h, 2 w, 3).
        """
        there = sent(dict(frames), self.encoders.vae.weights)
        return canvas(self.sizes, self.views, there)

    def shown(
        self, canvases: jax.Array, begins: bool, state: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Encodes canvases, all of robots that begin a window or all of others.

        Args:
            canvases: uint8 (B, T, H, W, 3).
            begins: whether windows begin.
            state: (B, n) by the state's keys.

        Returns:
            What a control step of latents is shown.
        """
        vae, config = self.encoders.vae.weights, self.encoders.vae_config
        dit = self.model.dit
        restart = np.full(canvases.shape[0], begins)
        observation: dict[str, Any] = {"state": dict(state), "restart": restart}
        if not begins:
            latents = go_on(config, self.sizes, vae, canvases)
            return observation | {"latents": latents[:, :, -dit.num_frame_per_block :]}
        # Only the 14B model looks at the latents of the frames to come.
        conditioned = dit.concat_first_frame_latent
        count = 4 * (dit.window - 1) + 1 if conditioned else 1
        first, latents = begin_window(config, self.sizes, count, vae, canvases)
        if conditioned:
            observation["y"] = conditioning(latents)
        else:
            observation["first"] = latents
        if dit.image_dim is not None:
            observation["image"] = self.encoders.features(first)
        return observation

    def film(self, session: RobotSession) -> np.ndarray:
        """Decodes a session's film; see `DreamZeroPipeline.film`."""
        if not session.film:
            return np.zeros((0, *self.sizes.encoded, 3), np.uint8)
        vae = self.encoders.vae.weights
        latents = jnp.concatenate([jnp.asarray(x) for x in session.film], axis=1)
        config = self.encoders.vae_config
        return np.asarray(film_of(config, vae, sent(latents[None], vae))[0])


def senses_of(
    encoders: Encoders | None,
    sizes: PictureSizes | None,
    statistics: Statistics | None,
    model: DreamZeroModel,
) -> Senses | None:
    """Puts a robot's senses together; None without encoders.

    Args:
        encoders: the frozen networks.
        sizes: of pictures, or None for those that the model was made for.
        statistics: the robot's.
        model: the transformer.

    Returns:
        The senses.

    Raises:
        TypeError: for what is of another kind.
        ValueError: for what is missing, or does not fit together.
    """
    if encoders is None:
        if sizes is not None:
            raise ValueError("pictures= are sizes for encoders=, which are missing")
        return None
    if not isinstance(encoders, Encoders):
        raise TypeError(f"encoders is {brief(encoders)}; give an Encoders")
    if statistics is None:
        raise ValueError("encoders= need statistics=: a robot sends its own units")
    if sizes is None:
        sizes = default_sizes(encoders, model)
    check_encoders(encoders, sizes, model)
    views = get_views(statistics.embodiment.name)
    return Senses(encoders, sizes, views, statistics, model)


def check_robot_session(session: Any) -> None:
    """Checks that a session is a robot's.

    Raises:
        TypeError: if it is not.
    """
    if not isinstance(session, RobotSession):
        raise TypeError(
            f"session is {brief(session)}; give a robot's, begun with pipeline.start()"
        )


def check_robots(sessions: Any, observations: Any, noises: Any) -> None:
    """Checks that there is a message for each robot, all of them sessions of messages.

    Raises:
        TypeError: if a session is of another kind.
        ValueError: if lists differ in length.
    """
    for name, given in (("observations", observations), ("noises", noises)):
        if given is not None and len(given) != len(sessions):
            raise ValueError(
                f"{name} has {len(given)} entries for {len(sessions)} robots"
            )
    for i, session in enumerate(sessions):
        with naming("sessions", i):
            check_robot_session(session)
