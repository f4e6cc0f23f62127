"""Words for bad input: what was given, what is allowed, the nearest right name."""

from __future__ import annotations

import contextlib
import difflib
import sys
import warnings
from collections.abc import Iterable, Iterator


def unknown_name(kind: str, given: object, allowed: Iterable[str]) -> str:
    """Words the error for a name that is not known.

    Args:
        kind: what is being named, such as ``"solver"``.
        given: the name that was given.
        allowed: the names that would do.

    Returns:
        One sentence, with the nearest allowed name if one is near.
    """
    names = sorted(allowed)
    return f"unknown {kind} {given!r}.{nearest(given, names)} Supported: {names}"


def nearest(given: object, allowed: Iterable[str]) -> str:
    """Asks whether a name that is near was meant.

    Args:
        given: the name that was given.
        allowed: the names that would do.

    Returns:
        `` Did you mean 'name'?``, with the blank before it; ``""`` if none is near.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(str(given), names, n=1)
    if not near:
        # "DiT" has one letter in common with "dit", and is meant for it.
        lower = {name.lower(): name for name in names}
        found = difflib.get_close_matches(str(given).lower(), sorted(lower), n=1)
        near = [lower[name] for name in found]
    return f" Did you mean {near[0]!r}?" if near else ""


def warn(message: str) -> None:
    """Warns at the caller's line, the nearest that is neither this library's nor JAX's.

    Python shows a warning once for each line that is the cause of it.

    Args:
        message: what is odd, and what would not be.
    """
    frame, level = sys._getframe(1), 2
    while frame is not None and _is_inside(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level if frame is not None else 2)


def _is_inside(module: str) -> bool:
    return module.partition(".")[0] in ("jax_stepcache", "jax")


@contextlib.contextmanager
def naming(what: str, index: int) -> Iterator[None]:
    """Says in errors about bad input which one of several it is.

    Args:
        what: what there are several of.
        index: which one.

    Raises:
        ValueError: where the block raises one, with ``what[index]`` before its words.
        TypeError: likewise.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{what}[{index}]: {error}") from error
