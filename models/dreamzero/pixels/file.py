"""Robots' sessions on disk: frames, prompt, film and the transformer's session."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jax.sharding import Mesh

from jax_stepcache.checkpoints.weights import load_metadata, load_weights, save_weights
from jax_stepcache.meshes.layout import Layout

from ..session.file import arrays_of, save_session, session_of
from ..session.placement import put
from ..session.session import Session
from .frames import SHOWN, FrameBuffer
from .session import RobotSession
from .views import Views

KIND = "robot session"
"""What the header of such a file says under ``kind``."""


@dataclass(frozen=True)
class _Told:
    """What a file's header says in JSON."""

    id: str | None
    csf: int
    text: str | None
    cameras: list[str]
    film: int


def save_any_session(
    path: str | os.PathLike[str], session: RobotSession | Session
) -> None:
    """Writes a session to a safetensors file, under a temporary name first.

    Args:
        path: the file.
        session: a robot's; or sessions of latents.
    """
    if not isinstance(session, RobotSession):
        return save_session(path, session)
    frames = session.buffer.frames
    told = _Told(session.id, session.csf, session.text, list(frames), len(session.film))
    arrays: dict[str, Any] = {
        "frames": {str(i): x for i, x in enumerate(frames.values())},
        "film": {str(i): x for i, x in enumerate(session.film)},
    }
    if session.ids is not None:
        arrays["ids"] = session.ids
    if session.latents is not None:
        arrays["latents"] = arrays_of(session.latents)
    return save_weights(
        path, arrays, {"kind": KIND, "session": json.dumps(asdict(told))}
    )


def is_of_robot(path: str | os.PathLike[str]) -> bool:
    """Whether a file's header says that it is a robot's session.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is cut short, or no safetensors file.
    """
    return load_metadata(path).get("kind") == KIND


def load_robot_session(
    path: str | os.PathLike[str],
    wanted: Session,
    views: Views,
    apart: bool,
    mesh: Mesh | Layout | None = None,
) -> RobotSession:
    """Reads a robot's session, bit for bit.

    Args:
        path: the file.
        wanted: the structure of the transformer's session, with layers stacked.
        views: the robot's.
        apart: whether each layer is to have keys and values of its own.
        mesh: where the transformer's session goes, see `session_shardings`.

    Returns:
        The session; all but the transformer's stays on the host.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is cut short, no robot's session, or one of another model or
            another robot.
    """
    arrays, metadata = load_weights(path)
    told = _told(path, metadata)
    if told.cameras and tuple(told.cameras) != views.cameras:
        raise ValueError(
            f"{path} is of a robot with cameras {told.cameras}; this pipeline's has "
            f"{list(views.cameras)}"
        )
    frames = _numbered(path, arrays, "frames", len(told.cameras))
    film = _numbered(path, arrays, "film", told.film)
    for x in frames:
        if x.dtype != np.uint8 or x.ndim != 4 or not 0 < len(x) <= SHOWN:
            raise ValueError(f"{path} has frames of {x.dtype}{list(x.shape)}")
    latents = arrays.get("latents")
    if (latents is None) != (arrays.get("ids") is None):
        raise ValueError(f"{path} has a prompt's tokens or its session, not both")
    if latents is not None:
        latents = put(session_of(path, latents, wanted, apart), mesh)
    return RobotSession(
        told.id,
        FrameBuffer(dict(zip(told.cameras, frames, strict=True))),
        told.csf,
        told.text,
        arrays.get("ids"),
        latents,
        tuple(film),
    )


def _told(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> _Told:
    if metadata.get("kind") != KIND:
        raise ValueError(
            f"{path} holds no robot's session; its header has {sorted(metadata)}"
        )
    try:
        return _Told(**json.loads(metadata["session"]))
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} does not say what it is of: {error}") from error


def _numbered(
    path: str | os.PathLike[str], arrays: Mapping[str, Any], name: str, count: int
) -> list[np.ndarray]:
    found = arrays.get(name, {})
    if sorted(found) != sorted(map(str, range(count))):
        raise ValueError(
            f"{path} says that it has {count} {name}, and has {len(found)}"
        )
    return [found[str(i)] for i in range(count)]
