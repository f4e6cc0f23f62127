"""Cases that need several devices, in a process of their own that has them."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from ..emitters import QUICK


def run_cases(
    module: str, names: Iterable[str], count: int
) -> tuple[dict[str, str], str]:
    """Runs cases of a module beside this one.

    Args:
        module: its name; it calls `main`.
        names: the cases.
        count: how many devices the process has.

    Returns:
        ``"ok"`` or ``"failed"`` of each case that came to its end, and what went wrong.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"
    environment = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={count}",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"{__package__}.{module}", *names],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return verdicts_in(done.stdout), done.stderr


def verdicts_in(said: str) -> dict[str, str]:
    """What `main` has said of each case.

    Args:
        said: its output, other lines included.

    Returns:
        ``"ok"`` or ``"failed"`` of each case that came to its end.
    """
    lines = said.splitlines()
    verdicts = [line for line in lines if line.endswith((": ok", ": failed"))]
    return dict(line.rsplit(": ", 1) for line in verdicts)


def main(cases: Mapping[str, Callable[[], Any]]) -> None:
    """Runs the cases of the command line, and says of each whether it went well.

    Of several processes, one whose case has failed ends: the others wait for what it
    will not do.
    """
    jax.config.update("jax_default_matmul_precision", "highest")
    jax.config.update("jax_disable_most_optimizations", True)
    for name in sys.argv[1:]:
        try:
            cases[name]()
            # On a line of its own, whatever the collectives' log is in the middle of.
            print(f"\n{name}: ok", flush=True)
        except Exception:
            print(f"\n{name}: failed", flush=True)
            traceback.print_exc()
            sys.stderr.flush()
            if jax.process_count() > 1:
                os._exit(1)
