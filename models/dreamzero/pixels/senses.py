"""Everything between a robot's message and the transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from jax_stepcache.errors import brief, naming
from jax_stepcache.loop.transfers import sent

from ...encoders.alike import calls, rows, stacked
from ...sizes.counts import require_count
from ..model import DreamZeroModel
from ..robot.statistics import Statistics
from .canvas import PictureSizes, canvas, default_sizes
from .encoders import Encoders, check_encoders
from .session import Heard, RobotSession, heard
from .views import Views, get_views
from .windows import conditioning, frames_at_first


class Seen(NamedTuple):
    """What a robot's frames became.

    Attributes:
        canvas: uint8 (1, T, 2 h, 2 w, 3).
        shown: what a control step of latents is shown of it.
    """

    canvas: jax.Array
    shown: dict[str, Any]


class Said(NamedTuple):
    """A new prompt, encoded: float32 (1, text_len, text_dim) each.

    Attributes:
        text: the robot's.
        negative: the negative one, where a session has not begun; None otherwise.
    """

    text: jax.Array
    negative: jax.Array | None


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

    def seen(self, messages: Sequence[Heard], most: int = 1) -> list[Seen]:
        """Puts frames of messages on their canvases, and encodes them.

        Args:
            messages: of the robots.
            most: robots in a call, where their cameras are alike and all begin a
                window, or none does.

        Returns:
            What each robot is shown.
        """
        found: dict[int, Seen] = {}
        kinds = [
            (message.begins, *(x.shape for x in message.frames.values()))
            for message in messages
        ]
        for indices in calls(kinds, most):
            some = [messages[i] for i in indices]
            canvases = self.canvas(stacked([dict(one.frames) for one in some]))
            encoded = self.encoded(canvases, some[0].begins)
            apart = rows((canvases, encoded), len(some))
            for i, message, (own, made) in zip(indices, some, apart, strict=True):
                begins = np.full(1, message.begins)
                told = {"state": dict(message.state), "restart": begins}
                found[i] = Seen(own, told | made)
        return [found[i] for i in range(len(messages))]

    def encoded(self, canvases: jax.Array, begins: bool) -> dict[str, jax.Array]:
        """Encodes canvases, all of robots that begin a window or all of others.

        Args:
            canvases: uint8 (B, T, H, W, 3).
            begins: whether windows begin.

        Returns:
            What a control step is shown: ``latents``; or ``y``, ``image``, ``first``.
        """
        dit = self.model.dit
        if not begins:
            latents = self.encoders.later(self.sizes, canvases)
            return {"latents": latents[:, :, -dit.num_frame_per_block :]}
        conditioned = dit.concat_first_frame_latent
        count = frames_at_first(dit.window, conditioned)
        first, latents = self.encoders.first(self.sizes, count, canvases)
        made = {"y": conditioning(latents)} if conditioned else {"first": latents}
        if dit.image_dim is not None:
            made["image"] = self.encoders.features(first)
        return made

    def said(self, messages: Sequence[Heard], guided: bool) -> list[Said | None]:
        """Encodes the new prompts of messages, each text once.

        Args:
            messages: of the robots.
            guided: whether negative prompts are wanted.

        Returns:
            Each robot's; None where its prompt is an old one.
        """
        tokens: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
        asked: list[list[bytes]] = []
        for message in messages:
            words = () if message.words is None else zip(*message.words, strict=True)
            own = [(ids.tobytes() + mask.tobytes(), (ids, mask)) for ids, mask in words]
            own = own if guided else own[:1]
            tokens |= dict(own)
            asked.append([name for name, _ in own])
        if not tokens:
            return [None] * len(messages)
        ids, mask = (np.stack(x) for x in zip(*tokens.values(), strict=True))
        each = rows(self.encoders.prompts(ids, mask), len(ids))
        encoded = dict(zip(tokens, each, strict=True))
        return [
            Said(encoded[own[0]], encoded[own[1]] if own[1:] else None) if own else None
            for own in asked
        ]

    def film(self, session: RobotSession, room: int | None = None) -> np.ndarray:
        """Decodes a session's film; see `DreamZeroPipeline.film`.

        Args:
            session: the session.
            room: latent frames that are decoded in any case, zeros behind those that
                there are: films up to that length are one compiled program. None for
                as many as there are.

        Returns:
            uint8 (F, H, W, 3).

        Raises:
            TypeError: if the session is no robot's.
        """
        check_robot_session(session)
        if not session.film:
            return np.zeros((0, *self.sizes.encoded, 3), np.uint8)
        # Its last piece may lie on other devices than the VAE.
        latents = np.concatenate([np.asarray(x) for x in session.film], axis=1)
        count = latents.shape[1]
        if room is not None:
            # What comes behind a frame of a stream does not change it.
            behind = max(room - count, 0)
            latents = np.pad(latents, ((0, 0), (0, behind), (0, 0), (0, 0)))
        film = np.asarray(self.encoders.film(latents[None])[0])
        return film[: 4 * count - 3]


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
        sizes = default_sizes(encoders.vae_config.spatial_stride, model)
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


def check_robots(
    sessions: Any, slots: Any, observations: Any, noises: Any, keys: Any, each: Any
) -> None:
    """Checks that there is a message for each robot, all of them sessions of messages.

    Raises:
        TypeError: if a session is of another kind.
        ValueError: if lists differ in length.
    """
    require_count("slots", slots)
    lists = {"observations": observations, "noises": noises, "keys": keys, "each": each}
    for name, given in lists.items():
        if given is not None and len(given) != len(sessions):
            raise ValueError(
                f"{name} has {len(given)} entries for {len(sessions)} robots"
            )
    for i, session in enumerate(sessions):
        with naming("sessions", i):
            check_robot_session(session)
