"""What importing the library costs beyond importing JAX and Flax.

Each row is the median over fresh interpreters. The first three rows are timed one after
the other in the same interpreter, so each is what its line costs in addition. Seconds
are of wall time, without the interpreter's own start. The exit status is 1 if the
library and its public names take more than 0.15 s together, or if the command's help
imports JAX or Flax.

``--modules`` lists where an interpreter of its own spends the library's part, by
Python's ``-X importtime``; that clock also counts what it takes to write its log.

    python benchmarks/import_time.py --json benchmarks/results/import_time.json
    python benchmarks/import_time.py --modules 20
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from report import device_name, print_table, write_json

from jax_stepcache.paths import path_option

MAX_SECONDS = 0.15
# The lines that are timed, by what the table calls them.
IMPORTS = {
    "import jax, flax": "import jax, flax",
    "+ import jax_stepcache": "import jax_stepcache",
    "+ public names": "jax_stepcache.sample",
}
COMMANDS = {
    "jax-stepcache --help": "from jax_stepcache.cli.main import main; main(['--help'])",
}
_TIMED = """
import contextlib, io, json, sys, time
rows = []
for line in sys.argv[1:]:
    start = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        exec(line)
    rows.append({
        "seconds": time.perf_counter() - start[0],
        "CPU seconds": time.process_time() - start[1],
        "imports jax": "jax" in sys.modules,
        "imports flax": "flax" in sys.modules,
    })
print(json.dumps(rows))
"""


def timed(lines: dict[str, str], repeats: int) -> dict[str, dict[str, Any]]:
    """Times lines of Python, one after the other in fresh interpreters.

    Args:
        lines: the lines by name.
        repeats: interpreters; one more goes first, to fill the disk's cache.

    Returns:
        For each line the medians of its seconds, and whether JAX and Flax were
        imported when it was done.
    """
    command = [sys.executable, "-c", _TIMED, *lines.values()]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(1 + repeats)
    ][1:]
    return {
        name: {
            **rows[0],
            "seconds": statistics.median(row["seconds"] for row in rows),
            "CPU seconds": statistics.median(row["CPU seconds"] for row in rows),
        }
        for name, rows in zip(lines, zip(*runs, strict=True), strict=True)
    }


def slowest_modules(count: int) -> dict[str, dict[str, Any]]:
    """What the library imports beyond JAX and Flax, by ``-X importtime``.

    Args:
        count: how many modules to list.

    Returns:
        All of them together, then the slowest, each with the ms that it takes itself.
    """
    first, *ours = IMPORTS.values()
    mark = "print('ours', file=sys.stderr)"
    code = "; ".join([first, "import sys", mark, *ours])
    command = [sys.executable, "-X", "importtime", "-c", code]
    log = subprocess.run(command, capture_output=True, check=True, text=True).stderr
    taken = {}
    for line in log.partition("ours\n")[2].splitlines():
        itself, _, module = line.removeprefix("import time:").split("|")
        taken[module.strip()] = {"ms": int(itself) / 1e3}
    together = {"ms": sum(row["ms"] for row in taken.values())}
    ranked = sorted(taken.items(), key=lambda item: -item[1]["ms"])[:count]
    return {f"all {len(taken)} modules": together, **dict(ranked)}


def main() -> int:
    """Runs the benchmark, prints the table and writes the JSON.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="What importing the library costs.")
    parser.add_argument("--json", type=path_option, help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=9, help="interpreters of each")
    parser.add_argument("--modules", type=int, help="list so many of the slowest")
    arguments = parser.parse_args()
    if arguments.modules:
        print_table(slowest_modules(arguments.modules))
        return 0
    imports = timed(IMPORTS, arguments.repeats)
    commands = timed(COMMANDS, arguments.repeats)
    rows = {**imports, **commands}
    print(device_name())
    print_table(rows)
    if arguments.json:
        write_json(arguments.json, rows)
    _, *ours = imports.values()
    quick = sum(row["seconds"] for row in ours) <= MAX_SECONDS
    light = not any(
        row["imports jax"] or row["imports flax"] for row in commands.values()
    )
    return 0 if quick and light else 1


if __name__ == "__main__":
    sys.exit(main())
