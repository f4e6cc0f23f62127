"""``jax-stepcache``: sample a model, or let it act, and see what caching did."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from jax_stepcache.cli.parser import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line without the program's name; None for the process's.

    Returns:
        The exit status: 0; 1 after bad input, and where numbers are not finite any
        more, which is told in one line; 130 after an interruption.
    """
    parsed = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        _show_any_name(sys.stdout)
        command = importlib.import_module(f"jax_stepcache.cli.{parsed.command}")
        with _warned_in_a_line():
            command.run(parsed)
    except BrokenPipeError:
        # Who read the output has had enough of it, as `head` has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (
        ValueError,
        TypeError,
        FloatingPointError,
        OSError,
        ImportError,
    ) as error:
        print(f"jax-stepcache: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jax-stepcache: interrupted", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _warned_in_a_line() -> Iterator[None]:
    """Lets warnings look as errors do: who types a command has no line of code."""
    usual = warnings.formatwarning

    def line(message: Warning | str, category: type[Warning], *where: Any) -> str:
        if category is not UserWarning:  # Of libraries, to their users.
            return usual(message, category, *where)
        return f"jax-stepcache: warning: {message}\n"

    warnings.formatwarning = line
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _show_any_name(stream: Any) -> None:
    """Lets a stream without the letters of a path say it in escapes, as stderr does.

    A command that has done its work must not end over the name of what it wrote.
    """
    if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
