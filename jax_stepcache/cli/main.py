"""``jax-stepcache``: sample a model, or let it act, and see what caching did."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
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
        importlib.import_module(f"jax_stepcache.cli.{parsed.command}").run(parsed)
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


def _show_any_name(stream: Any) -> None:
    """Lets a stream without the letters of a path say it in escapes, as stderr does.

    A command that has done its work must not end over the name of what it wrote.
    """
    if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
