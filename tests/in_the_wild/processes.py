"""Cases that need several processes: they are started together, and end together."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import jax

from ..emitters import QUICK
from .devices import main, verdicts_in

COUNT = 2
DEVICES = 4
_ADDRESS, _NUMBER, _MODULE = "TESTS_COORDINATOR", "TESTS_PROCESS", "TESTS_MODULE"
FOLDER = "TESTS_FOLDER"


def run_on_processes(
    module: str, names: Iterable[str], seconds: float
) -> tuple[list[dict[str, str]], str]:
    """Runs cases of a module beside this one, in two processes of four devices each.

    Args:
        module: its name; it has `CASES`.
        names: the cases; every process runs all of them, in this order.
        seconds: after which all processes are killed, for one that waits for another
            waits for ever.

    Returns:
        ``"ok"`` or ``"failed"`` of each case, for each process; and what went wrong,
        of all of them.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"
    shared = os.environ | {
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={DEVICES}",
        "JAX_PLATFORMS": "cpu",
        _MODULE: f"{__package__}.{module}",
        _ADDRESS: f"127.0.0.1:{_free_port()}",
    }
    with tempfile.TemporaryDirectory() as folder:
        shared |= {FOLDER: folder}
        # To files: a pipe that nobody reads would stop the process that fills it.
        logs = [Path(folder) / f"{i}.log" for i in range(COUNT)]
        running = [
            _started(names, shared | {_NUMBER: str(i)}, log)
            for i, log in enumerate(logs)
        ]
        try:
            _waited_for(running, time.monotonic() + seconds)
        finally:
            for process in running:
                process.kill()
                process.wait()
        said = [log.read_text() for log in logs]
    told = (f"process {i}: {one[-4000:]}" for i, one in enumerate(said))
    return list(map(verdicts_in, said)), "\n".join(told)


def _started(
    names: Iterable[str], environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *names],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def _waited_for(running: list[subprocess.Popen[bytes]], until: float) -> None:
    """Until all have ended, or one of them badly, or it is too late."""
    while time.monotonic() < until:
        ended = [process.poll() for process in running]
        if None not in ended or any(ended):
            return
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    # Before anything else asks JAX for a device, as modules with arrays do.
    jax.distributed.initialize(os.environ[_ADDRESS], COUNT, int(os.environ[_NUMBER]))
    main(importlib.import_module(os.environ[_MODULE]).CASES)
