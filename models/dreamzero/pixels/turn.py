"""A control step around the transformer: what it is given, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from jax_stepcache.meshes.beside import arrays_beside

from ..control.pipeline import LatentPipeline
from ..control.step import ControlStep
from ..session.session import Session
from .senses import Seen, Senses
from .session import Heard, RobotSession
from .step import RobotStep


def sensed(
    pipeline: LatentPipeline,
    senses: Senses,
    messages: Sequence[Heard],
    most: int,
    *,
    donate: bool,
) -> list[tuple[Session, Seen]]:
    """What the transformer is given of each message, on its devices.

    Args:
        pipeline: with the transformer.
        senses: in front of it.
        messages: of the robots.
        most: robots in a call of the encoders.
        donate: whether sessions may be written into.

    Returns:
        Each robot's session of latents, with the message's prompt, encoded where it is
        new; and what it is shown.
    """
    told = senses.seen(messages, most), senses.said(messages, pipeline.guided)
    seen, said = arrays_beside(pipeline.params.weights, told)
    sessions = []
    for message, new in zip(messages, said, strict=True):
        session, negative = message.session.latents, None
        if new is not None:
            if pipeline.guided:
                negative = session.text[1:] if session else new.negative
            # Kept sessions must not be written into; otherwise a new one is begun.
            if session is None or not donate:
                session = pipeline.start(new.text, negative)
            else:
                session = pipeline.prompt(session, new.text, negative)
        assert session is not None  # Only one that has begun has a prompt.
        sessions.append(session)
    return list(zip(sessions, seen, strict=True))


def robot_step(
    senses: Senses,
    message: Heard,
    seen: Seen,
    step: ControlStep,
    film: Callable[[RobotSession], np.ndarray],
) -> RobotStep:
    """Moves a robot's session on.

    Args:
        senses: in front of the transformer.
        message: of the robot.
        seen: what was made of it.
        step: of the transformer.
        film: decodes a session's film.

    Returns:
        The step.
    """
    before, block = message.session, senses.model.dit.num_frame_per_block
    imagined = step.video[0]
    if message.begins:
        imagined = jnp.concatenate([step.first[0], imagined], axis=1)
    # Those of steps before this one have long been computed: on the host, a long film
    # takes none of the devices' memory.
    earlier = tuple(np.asarray(latents) for latents in before.film)
    session = replace(
        before,
        csf=(1 if message.begins else before.csf) + block,
        latents=step.session,
        film=(*earlier, imagined),
    )
    keys = senses.statistics.embodiment.action_keys
    return RobotStep(session, step, seen.canvas, message.begins, keys, film)
