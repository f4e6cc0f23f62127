"""Words for bad input: what was given, what is allowed, the nearest right name."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import reprlib
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")
_Class = TypeVar("_Class")
_BRIEF = 80  # characters of what was given, in an error
_MANY, _NEAR = 40, 5  # names that are listed, unless one is near; then as many
_LONG = 200  # characters, bytes, or numbers that are still written out


def unknown_name(
    kind: str,
    given: object,
    allowed: Iterable[str],
    elsewhere: Mapping[str, str] | None = None,
) -> str:
    """Words the error for a name that is not known.

    Args:
        kind: what is being named, such as ``"solver"``.
        given: the name that was given.
        allowed: the names that would do.
        elsewhere: what is called otherwise in other libraries; see `nearest`.

    Returns:
        One sentence, with the nearest allowed name if one is near; of very many names
        those that are nearest to it.
    """
    names = sorted(allowed)
    meant = nearest(given, names, elsewhere)
    if meant and len(names) > _MANY:
        # A cache's settings are a page of names, and one of them was meant.
        written = {_plain(name): name for name in names}
        near = difflib.get_close_matches(_plain(given), written, n=_NEAR, cutoff=0)
        return (
            f"unknown {kind} {given!r}.{meant} Of {len(names)} these are nearest: "
            f"{[written[name] for name in near]}"
        )
    return f"unknown {kind} {given!r}.{meant} Supported: {names}"


def nearest(
    given: object, allowed: Iterable[str], elsewhere: Mapping[str, str] | None = None
) -> str:
    """Asks whether a name that is near was meant.

    Args:
        given: the name that was given.
        allowed: the names that would do.
        elsewhere: names of other libraries, in plain letters, to those here.

    Returns:
        `` Did you mean 'name'?``, with the blank before it; ``""`` if none is near.
    """
    # "DiT" has one letter in common with "dit", and is meant for it.
    names, plain = sorted(allowed), _plain(given)
    other = (elsewhere or {}).get(plain)
    if other in names:
        return f" Did you mean {other!r}?"
    near = difflib.get_close_matches(plain, map(_plain, names), n=1)
    if not near:
        return ""
    # Of names that differ by such letters only, the one that is written most alike.
    alike = [name for name in names if _plain(name) == near[0]]
    meant = difflib.get_close_matches(str(given), alike, n=1, cutoff=0.0)
    return f" Did you mean {meant[0]!r}?"


def misnamed(wanted: str, given: Iterable[object], cutoff: float = 0.75) -> str | None:
    """Finds what was given in place of a name that is missing.

    Args:
        wanted: the name, such as ``"observation/state"``. What stands behind the last
            stroke is compared.
        given: names that were given and that nobody knows.
        cutoff: how near one must be, from 0 to 1; with a letter of ten too few it is
            0.95.

    Returns:
        The nearest of those given, or None.
    """
    # Whoever sends names may send long ones, which are compared letter by letter.
    names = [name for name in map(str, given) if len(name) <= _LONG]
    last = [_plain(name.rpartition("/")[2]) for name in names]
    plain = _plain(wanted.rpartition("/")[2])
    near = difflib.get_close_matches(plain, last, n=1, cutoff=cutoff)
    return names[last.index(near[0])] if near else None


def _plain(name: object) -> str:
    """A name without what people write in one way or another."""
    return str(name).lower().replace("_", "").replace("-", "").replace(" ", "")


class _Brief(reprlib.Repr):
    """Words that take no longer for what is large: a message may hold megabytes."""

    def __init__(self) -> None:
        super().__init__()
        # As many of each as there are characters in the end.
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 80
        self.maxlevel = 4
        # What is cut is cut in its middle, and ends as it would otherwise.
        self.maxstring = self.maxother = _BRIEF
        self.maxlong = _LONG

    def repr1(self, x: Any, level: int) -> str:
        kind = type(x).__name__
        if isinstance(x, str | bytes | bytearray) and len(x) > _LONG:
            return f"{kind} of length {len(x)}"
        shape, size = getattr(x, "shape", None), getattr(x, "nbytes", 0)
        if shape is not None and isinstance(size, int) and size > 8 * _LONG:
            return f"{kind} of shape {shape}"
        return super().repr1(x, level)


def brief(given: object) -> str:
    """What was given, on a line, and no longer than can be read at a glance."""
    said = " ".join(_Brief().repr(given).split())
    return said if len(said) <= _BRIEF else f"{said[: _BRIEF - 3]}..."


def naming_arguments(
    elsewhere: Mapping[str, str] | None = None,
) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Makes a function tell the nearest of its arguments where it has none of a name.

    Args:
        elsewhere: see `nearest`.

    Returns:
        The decorator. What it makes raises a `TypeError`, as Python does.
    """

    def decorate(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
        given = inspect.signature(function).parameters
        known = frozenset(given) - {"self", "cls"}
        called = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def checked(*args: _Given.args, **kwargs: _Given.kwargs) -> _Result:
            if not kwargs.keys() <= known:
                name = min(kwargs.keys() - known)
                kind = f"argument of {called}"
                raise TypeError(unknown_name(kind, name, known, elsewhere))
            return function(*args, **kwargs)

        return checked

    return decorate


def naming_fields(
    elsewhere: Mapping[str, str] | None = None,
) -> Callable[[type[_Class]], type[_Class]]:
    """`naming_arguments` of a dataclass: of the function that makes its objects.

    Args:
        elsewhere: see `nearest`.

    Returns:
        The decorator, which stands above that of the dataclass.
    """

    def decorate(cls: type[_Class]) -> type[_Class]:
        cls.__init__ = naming_arguments(elsewhere)(cls.__init__)
        return cls

    return decorate


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
def naming(what: str, index: int | str) -> Iterator[None]:
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
