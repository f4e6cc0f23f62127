"""What a robot asks for: the server's part of its message, and the policy's."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from jax_stepcache.check import check_flag
from jax_stepcache.errors import brief, misnamed, unknown_name
from jax_stepcache.serving.robots.settings import ServerSettings

ENDPOINTS = ("infer", "reset")
_SERVERS = ("session_id", "options", "endpoint")  # keys of a message
_OPTIONS = ("deadline", "stats")  # that every server takes
_LONGEST = 128
_NEAR = 0.85  # how alike keys are that are taken for slips
_KEYS = 256  # of a message: where one is missing, the nearest of them is looked for


@dataclass(frozen=True)
class Asked:
    """A message, taken apart.

    Attributes:
        message: what the policy sees.
        endpoint: of RoboArena's and DreamZero's robots ``infer`` or ``reset``; None of
            openpi's.
        session: the id that it names, or None.
        options: what it asks of the policy.
        deadline: seconds.
        stats: whether it wants to know what the step has cost.
    """

    message: Mapping[str, Any]
    endpoint: str | None
    session: str | None
    options: Mapping[str, Any]
    deadline: float
    stats: bool


def options_allowed(
    policy: Mapping[str, str], settings: ServerSettings
) -> dict[str, str]:
    """What a request may ask for under ``options``: the policy's, and the server's."""
    return {
        **policy,
        "deadline": f"seconds, at most the server's {settings.deadline:g}",
        "stats": "true for what the step has cost, beside the actions",
    }


def asked(
    message: Mapping[str, Any],
    settings: ServerSettings,
    allowed: Mapping[str, str],
    *,
    keys: Collection[str] = (),
    unavailable: Mapping[str, str] = MappingProxyType({}),
) -> Asked:
    """Takes a message apart.

    Args:
        message: as decoded.
        settings: the server's limits.
        allowed: the policy's options.
        keys: of the policy's part of a message. Where they are known, another that is
            nearly one of the server's, or of the options, is a slip; any other is
            passed over.
        unavailable: options that are not taken, and why.

    Returns:
        What is asked.

    Raises:
        ValueError: for what does not fit, naming its key.
        TypeError: likewise.
    """
    rest = dict(message)
    if len(rest) > _KEYS:
        raise ValueError(f"the message has {len(rest)} keys; at most {_KEYS} are taken")
    if keys:
        _check_slips(rest.keys(), keys)
        _check_no_options(rest.keys(), keys, allowed, unavailable)
    endpoint = _endpoint(rest.pop("endpoint", None))
    options = rest.pop("options", None)
    options = {} if options is None else options
    if not isinstance(options, dict):
        raise TypeError(f"'options' is {brief(options)}; send a map")
    known = options_allowed(allowed, settings)
    for name, value in options.items():
        if name in unavailable:
            raise ValueError(f"option {name!r} is not taken {unavailable[name]}")
        if name not in known:
            raise ValueError(unknown_name("option", name, known))
        if not _is_small(value):
            raise ValueError(f"option {name!r} is {brief(value)}; send a few numbers")
    own = {name: value for name, value in options.items() if name in allowed}
    for key, value in rest.items():
        count = _pictures(key, value, settings.max_pixels)
        if count > settings.max_frames:
            raise ValueError(
                f"{key!r} has {count} frames; at most {settings.max_frames} are taken"
            )
    session = _session(rest.get("session_id"))
    if session is not None:  # as text, whatever kind it was sent as
        rest["session_id"] = session
    return Asked(
        rest,
        endpoint,
        session,
        own,
        _deadline(options.get("deadline"), settings.deadline),
        _flag(options.get("stats")),
    )


def _check_slips(sent: Collection[str], keys: Collection[str]) -> None:
    """Raises for a key that nobody reads and that was meant for one of the server's."""
    unread = [key for key in sent if key not in (*keys, *_SERVERS) and "/" not in key]
    for own in _SERVERS:
        slip = misnamed(own, unread, _NEAR) if own not in sent else None
        if slip is not None:
            raise ValueError(f"nobody reads {slip!r}. Did you mean {own!r}?")


def _check_no_options(
    sent: Collection[str],
    keys: Collection[str],
    allowed: Mapping[str, str],
    unavailable: Mapping[str, str],
) -> None:
    """Raises for an option, or nearly one, that does not lie under 'options'."""
    unread = [key for key in sent if key not in (*keys, *_SERVERS) and "/" not in key]
    for name in (*allowed, *unavailable, *_OPTIONS):
        # The server's own are words that others may have words like.
        least = 1.0 if name in _OPTIONS else _NEAR
        slip = misnamed(name, unread, least)
        if slip is None:
            continue
        if name in unavailable:
            raise ValueError(f"option {name!r} is not taken {unavailable[name]}")
        raise ValueError(
            f"nobody reads {slip!r} here: send it under 'options', as {name!r}"
        )


def _pictures(key: str, value: Any, most: int) -> int:
    """How many pictures there are under a key, however deep.

    Raises:
        ValueError: if one has more than ``most`` pixels.
    """
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return sum(_pictures(key, one, most) for one in value)
    shape = getattr(value, "shape", ())
    if len(shape) < 3:
        return 0
    height, width = shape[-3:-1]
    if height * width > most:
        raise ValueError(
            f"{key!r} has pictures of {height} x {width}; at most {most} pixels are "
            "taken"
        )
    return math.prod(shape[:-3])


def _endpoint(given: Any) -> str | None:
    if isinstance(given, np.ndarray) and given.size == 1:
        given = given.item()
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"'endpoint' is {brief(given)}; send text")
    # Unknown names are compared letter by letter, on the thread that serves all robots.
    if len(given) > _LONGEST:
        raise ValueError(f"'endpoint' is {brief(given)}; send one of {ENDPOINTS}")
    if given not in ENDPOINTS:
        raise ValueError(unknown_name("endpoint", given, ENDPOINTS))
    return str(given)


def _is_small(value: Any) -> bool:
    """Whether an option may be compared, and quoted where it does not fit."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return all(map(_is_small, value))
    if isinstance(value, str | bytes):
        return len(value) <= _LONGEST
    return getattr(value, "nbytes", 0) <= 8 * _LONGEST


def _session(given: Any) -> str | None:
    if isinstance(given, np.ndarray) and given.size == 1:
        given = given.item()
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | np.integer):
        raise TypeError(
            f"'session_id' is {brief(given)}; send text, a whole number, or "
            "an array of one"
        )
    name = str(given)
    if not 1 <= len(name) <= _LONGEST or not name.isprintable():
        raise ValueError(
            f"'session_id' is {brief(name)}; send 1 to {_LONGEST} printable characters"
        )
    return name


def _deadline(given: Any, most: float) -> float:
    if given is None:
        return most
    number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
    if not number or not math.isfinite(given) or given <= 0:
        raise ValueError(f"'deadline' is {brief(given)}; send seconds above 0")
    if given > most:
        raise ValueError(
            f"'deadline' is {brief(given)}; at most this server's {most:g} s are taken"
        )
    return float(given)


def _flag(given: Any) -> bool:
    if given is None:
        return False
    check_flag("'stats'", given)
    return bool(given)
