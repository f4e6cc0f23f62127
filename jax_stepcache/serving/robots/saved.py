"""Sessions on disk, from one run of a server to the next: a folder for each."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path

from jax_stepcache.serving.robots.policy import Policy
from jax_stepcache.serving.robots.sessions import Held, Sessions

_NAME = "name.json"
_COUNTS = ("steps", "calls", "skipped")  # of a session, as the status page shows them
_UNREAD = ".unread"
_log = logging.getLogger("jax_stepcache.robots")


def check_folder(folder: Path) -> None:
    """Makes the folder if need be, and tries whether it can be written into.

    Told before weights are loaded, rather than after the last request.

    Args:
        folder: where sessions shall be saved.

    Raises:
        OSError: if they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder):
            pass
    except FileExistsError as error:
        raise FileExistsError(
            f"sessions= is {str(folder)!r}, a file; give a folder"
        ) from error
    except OSError as error:
        raise OSError(
            f"sessions= is {str(folder)!r}, where nothing can be written: {error}"
        ) from error


def save(
    folder: Path, policy: Policy, sessions: Sessions, restored: Collection[Path]
) -> int:
    """Writes all sessions that have an id of their own; logs which cannot be written.

    Args:
        folder: made if need be.
        policy: writes each.
        sessions: what there is.
        restored: what `restore` gave; of these what has been forgotten since is taken
            away. What it could not read may be another version's, and stays; where its
            robot has come back since, beside the new one as ``*.unread``.

    Returns:
        How many.

    Raises:
        OSError: if some could not be written, when all others have been.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written, failed = set(), 0
    for held in sessions:
        if held.own or held.session is None:
            continue
        # An id may hold anything; the name of a folder may not.
        place = folder / hashlib.sha256(held.name.encode()).hexdigest()[:32]
        try:
            _write(place, policy, held, keep=place not in restored)
        except Exception:  # of one session; the others are kept
            _log.exception("session not saved", extra={"session": held.name})
            failed += 1
            continue
        written.add(place)
    for old in restored:
        if old not in written:
            shutil.rmtree(old, ignore_errors=True)
    if failed:
        raise OSError(f"{failed} of {failed + len(written)} could not be written")
    return len(written)


def restore(folder: Path, policy: Policy, sessions: Sessions) -> list[Path]:
    """Reads what `save` has written; a session that cannot be read is logged and left.

    Args:
        folder: need not be there.
        policy: reads each.
        sessions: where they go.

    Returns:
        The folders of those that were read.
    """
    read = []
    for place in _folders(folder):
        try:
            told = json.loads((place / _NAME).read_text(encoding="utf-8"))
            counts = [int(told.get(name, 0)) for name in _COUNTS]
            held = sessions.put(str(told["name"]), policy.load(place))
            held.steps, held.calls, held.skipped = counts
        except Exception as error:  # of one session, such as JAX's for memory
            _log.warning("session not restored: %s", error, extra={"place": str(place)})
            continue
        read.append(place)
    return read


def _write(place: Path, policy: Policy, held: Held, keep: bool) -> None:
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    policy.save(partial, held.session)
    told = {"name": held.name, **{name: getattr(held, name) for name in _COUNTS}}
    (partial / _NAME).write_text(json.dumps(told), encoding="utf-8")
    if keep and place.exists():
        place.rename(_free(place))
    shutil.rmtree(place, ignore_errors=True)
    partial.replace(place)


def _free(place: Path) -> Path:
    """A name for what could not be read; one that was kept before stays as well."""
    names = (place.with_suffix(f".{n}{_UNREAD}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())


def _folders(folder: Path) -> list[Path]:
    """Those that are whole, and ours."""
    return [
        place
        for place in sorted(folder.glob("*"))
        if place.suffix != _UNREAD and (place / _NAME).is_file()
    ]
