"""One robot's session, from its pictures and words: on the host, but for arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..robot.statistics import Statistics
from ..session.session import Session
from .encoders import Encoders
from .frames import FrameBuffer, shown
from .prompt import NEGATIVE_PROMPT, prompt_text
from .request import read_request
from .views import Views
from .windows import begins


@dataclass(frozen=True, eq=False)
class RobotSession:
    """What is remembered of a robot between its messages. Never changed in place.

    Attributes:
        id: the ``session_id`` of its messages, or None before the first.
        buffer: the last frames of each camera.
        csf: latent frames of the window that are past or imagined, the original's
            ``current_start_frame``; as `Session.position`, without asking the device.
        text: the prompt as the tokenizer was given it.
        ids: its token ids, int (text_len,).
        latents: the transformer's session, on its devices, or None before the first
            step.
        film: imagined latents since the last reset, float32 (z, frames, h, w) each.
    """

    id: str | None = None
    buffer: FrameBuffer = field(default_factory=FrameBuffer)
    csf: int = 0
    text: str | None = None
    ids: np.ndarray | None = None
    latents: Session | None = None
    film: tuple[Any, ...] = ()


@dataclass(frozen=True, eq=False)
class Heard:
    """A message, read and put into its session; nothing has been computed yet.

    Attributes:
        session: with the message's frames, id and prompt.
        frames: uint8 (1, T, H, W, 3) by camera, to be shown.
        state: float32 (1, n) by key, in the robot's units.
        words: token ids and mask, (1 or 2, text_len), of a prompt to be encoded, the
            negative one behind it where a session has not begun; None for an old one.
        begins: whether the step begins a window.
    """

    session: RobotSession
    frames: Mapping[str, np.ndarray]
    state: Mapping[str, np.ndarray]
    words: tuple[np.ndarray, np.ndarray] | None
    begins: bool


def after_reset(session: RobotSession, whole: bool) -> RobotSession:
    """A robot's session as it is after a reset: without frames and film.

    The transformer's session stays, and with it prompt and features: the next call
    shows one frame, which begins a window.

    Args:
        session: the session.
        whole: whether position and id are forgotten as well, as the original's server
            of the 5B model does and that of the 14B model does not.

    Returns:
        The session.
    """
    session = replace(session, buffer=FrameBuffer(), film=())
    return replace(session, id=None, csf=0) if whole else session


def heard(
    encoders: Encoders,
    views: Views,
    statistics: Statistics,
    session: RobotSession,
    request: Mapping[str, Any],
    *,
    window: int,
    whole_resets: bool,
) -> Heard:
    """Reads a message into a session. Of the encoders only the tokenizer is run.

    Args:
        encoders: for the tokenizer.
        views: the robot's cameras.
        statistics: its quantiles.
        session: the session; another ``session_id`` than its own resets it first, none
            does not.
        request: see `read_request`.
        window: latent frames that attention spans.
        whole_resets: see `after_reset`.

    Returns:
        What a control step goes on with.

    Raises:
        TypeError: for what is of another kind.
        ValueError: for what does not fit; the session is as it was.
    """
    given = read_request(views, statistics, request)
    name = session.id if given.session_id is None else given.session_id
    if session.id is not None and name != session.id:
        session = after_reset(session, whole_resets)
    buffer, frames = shown(session.buffer, given.pictures)
    text, words, ids = prompt_text(views, given.prompt), None, session.ids
    if text != session.text:
        begun = session.latents is not None
        try:
            told = encoders.tokenize([text] if begun else [text, NEGATIVE_PROMPT])
        except ValueError as error:
            raise ValueError(f"'prompt', told with its views: {error}") from error
        new, mask = (np.asarray(x) for x in told)
        if ids is None or not np.array_equal(new[0], ids):
            words, ids = (new, mask), new[0]
    (count,) = {len(x) for x in frames.values()}
    begun = begins(session.csf, window, new_prompt=words is not None, frames=count)
    session = replace(session, id=name, buffer=buffer, text=text, ids=ids)
    batched = {camera: x[None] for camera, x in frames.items()}
    return Heard(session, batched, given.state, words, begun)
