"""``jax-stepcache``: sample a model, or let it act, and see what caching did."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from jax_stepcache.cli import calibrate, convert, finetune, info, rollout, sample


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line without the program's name; None for the process's.

    Returns:
        The exit status: 0; 1 after bad input, which is told in one line; 130 after an
        interruption.
    """
    parser = argparse.ArgumentParser(prog="jax-stepcache", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (sample, rollout, calibrate, convert, info, finetune):
        command.add_parser(commands)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed)
    except (
        ValueError,
        TypeError,
        FileNotFoundError,
        FileExistsError,
        ImportError,
    ) as error:
        print(f"jax-stepcache: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("jax-stepcache: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
