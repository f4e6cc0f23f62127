"""The part of a command line that every training run has."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from jax_stepcache.paths import as_path, path_option


def run_parser(description: str, defaults: Any) -> argparse.ArgumentParser:
    """A parser of what every run is told.

    Args:
        description: what the command does.
        defaults: the run's settings where they are not given, a NamedTuple with
            ``steps``, ``batch``, ``seed`` and ``learning_rate``.

    Returns:
        The parser, to which a model adds its own.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=path_option, required=True, help="folder of the run"
    )
    for name in ("steps", "batch", "seed", "learning_rate"):
        value = getattr(defaults, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(value), default=value)
    parser.add_argument("--resume", action="store_true", help="continue a run")
    parser.add_argument("--stop-after", type=int, help="stop at this step")
    return parser


def told(arguments: argparse.Namespace, defaults: Any) -> Any:
    """Settings with what the command line says of them.

    Args:
        arguments: as parsed.
        defaults: the run's settings where they are not given, a NamedTuple.

    Returns:
        Settings of the same type.
    """
    names = [name for name in defaults._fields if hasattr(arguments, name)]
    return defaults._replace(**{name: getattr(arguments, name) for name in names})


def run_command(main: Callable[[], None]) -> int:
    """Runs a training command; what was wrong is told in one line.

    Args:
        main: the command.

    Returns:
        The exit status: 0; 1 after bad input, and after a run that stopped because its
        numbers were not finite any more.
    """
    try:
        main()
    except (ValueError, FloatingPointError, OSError, ImportError) as error:
        print(f"{sys.argv[0]}: {error}", file=sys.stderr)
        return 1
    return 0


def command_line(module: str) -> str:
    """The command that is running, as one would type it.

    Args:
        module: the name of the module that Python was asked to run.

    Returns:
        The line.
    """
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def commit_of(file: str) -> str:
    """The commit of the checkout that a file is in, or "unknown" outside of one.

    Args:
        file: its path.

    Returns:
        The commit's hash.
    """
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=as_path(file).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
