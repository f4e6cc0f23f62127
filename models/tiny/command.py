"""The command that writes a tiny model, whole."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from jax_stepcache.paths import path_option


def run_command(
    what: str, write: Callable[[Path, str, int], Path], kinds: Iterable[str], usual: str
) -> None:
    """Reads folder, kind and seed, writes the model and says where.

    Args:
        what: the model's name.
        write: from these to what was written.
        kinds: that there are.
        usual: the one unless it is given.
    """
    parser = argparse.ArgumentParser(description=f"Writes a tiny {what}, whole.")
    parser.add_argument("folder", type=path_option, help="to be made")
    parser.add_argument("--kind", choices=sorted(kinds), default=usual)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print_or_exit(parser, lambda: write(args.folder, args.kind, args.seed))


def print_or_exit(parser: argparse.ArgumentParser, write: Callable[[], Path]) -> None:
    """Writes and says where; what stands in the way is one line, and a status of 2.

    Args:
        parser: the command's.
        write: writes the folder, and gives it.

    Raises:
        SystemExit: if it cannot be written.
    """
    try:
        print(write())
    except (OSError, ValueError, ImportError) as error:
        parser.error(str(error))
