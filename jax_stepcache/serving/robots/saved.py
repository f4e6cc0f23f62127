"""Sessions on disk, from one run of a server to the next: a folder for each."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path

from jax_stepcache.serving.robots.policy import Policy
from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.sessions import Held, Sessions

_NAME = "name.json"
_log = logging.getLogger("jax_stepcache.robots")


def save(folder: Path, policy: Policy, sessions: Sessions) -> int:
    """Writes all sessions that have an id of their own; logs which cannot be written.

    Args:
        folder: made if need be; older sessions in it are replaced or taken away.
        policy: writes each.
        sessions: what there is.

    Returns:
        How many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for held in sessions:
        if held.own or held.session is None:
            continue
        # An id may hold anything; the name of a folder may not.
        place = folder / hashlib.sha256(held.name.encode()).hexdigest()[:32]
        try:
            _write(place, policy, held)
        except Exception:  # of one session; the others are kept
            _log.exception("session not saved", extra={"session": held.name})
            continue
        written.add(place)
    for old in _folders(folder):
        if old not in written:
            shutil.rmtree(old)
    return len(written)


def restore(folder: Path, policy: Policy, sessions: Sessions) -> int:
    """Reads what `save` has written; a session that cannot be read is logged and left.

    Args:
        folder: need not be there.
        policy: reads each.
        sessions: where they go.

    Returns:
        How many.
    """
    count = 0
    for place in _folders(folder):
        try:
            name = json.loads((place / _NAME).read_text(encoding="utf-8"))["name"]
            sessions.put(str(name), policy.load(place))
        except (OSError, ValueError, KeyError, TypeError, Refused) as error:
            _log.warning("session not restored: %s", error, extra={"place": str(place)})
            continue
        count += 1
    return count


def _write(place: Path, policy: Policy, held: Held) -> None:
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    policy.save(partial, held.session)
    (partial / _NAME).write_text(json.dumps({"name": held.name}), encoding="utf-8")
    shutil.rmtree(place, ignore_errors=True)
    partial.replace(place)


def _folders(folder: Path) -> list[Path]:
    """Those that are whole, and ours."""
    return [place for place in sorted(folder.glob("*")) if (place / _NAME).is_file()]
