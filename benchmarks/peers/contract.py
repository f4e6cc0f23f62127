"""What all contenders are given and what each tells: NumPy only, no framework.

The network is SiT's transformer: 12 blocks, 384 wide, 64 tokens, one sample, float32,
weights drawn at random. Its weights have the names of the published checkpoints. A
sample is 16 steps of Euler's method, no guidance. Settings are such that all make the
same calls, whatever the numbers are: every similarity passes, every difference is small
enough, and countdowns and intervals alone say which steps run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

GRID, PATCH, CHANNELS, DIM, DEPTH, HEADS, CLASSES = 8, 2, 4, 384, 12, 6, 1000
NUM_STEPS = 16
LABEL = 3

CASES = ("call", "uncached", "step_cache", "db_cache", "first_block", "taylor_seer")
# Of StepCache: all steps of a countdown but its last are skipped.
COUNTDOWN = 4
# Of DBCache: blocks that always run, steps before the first skip, skips in a row.
FIRST_BLOCKS, WARMUP, IN_A_ROW = 1, 2, 3
ANY_DIFFERENCE = 1e6
# Of TaylorSeer.
INTERVAL, BEFORE, ORDER = 3, 3, 1


class Given(NamedTuple):
    """What a contender reads.

    Attributes:
        weights: float32 arrays, by the names of SiT's checkpoints.
        noise: float32[1, H, W, C].
        sigmas: float64[NUM_STEPS + 1], from 1 to 0.
        timesteps: float32[NUM_STEPS], what the network is told; it takes
            ``1 - t / 1000``.
    """

    weights: dict[str, np.ndarray]
    noise: np.ndarray
    sigmas: np.ndarray
    timesteps: np.ndarray


def write_given(path: Path, given: Any) -> None:
    """Writes what all contenders read, a named tuple with ``weights`` in it."""
    weights = {f"weights/{name}": x for name, x in given.weights.items()}
    rest = {k: x for k, x in given._asdict().items() if k != "weights"}
    np.savez(path, **weights, **rest)


def read_given(path: Path, kind: Any = Given) -> Any:
    """The inverse of `write_given`, as a named tuple of a kind."""
    with np.load(path) as file:
        arrays = dict(file)
    weights = {
        name.removeprefix("weights/"): arrays.pop(name)
        for name in list(arrays)
        if name.startswith("weights/")
    }
    return kind(weights, **arrays)


class Contender(NamedTuple):
    """One way to run a case.

    Attributes:
        run: takes the sample of the case, or the answer of one call, and waits for it.
        calls: how many steps ran all blocks, in the last run; None where that is not
            told.
    """

    run: Callable[[], np.ndarray]
    calls: Callable[[], int | None]


def main(
    contenders: Callable[[Any], Mapping[str, Callable[[], Contender]]],
    versions: Callable[[], dict[str, str]],
    read: Callable[[Path], Any] = read_given,
) -> None:
    """Runs one process's contenders, and writes what they took.

    Args:
        contenders: makes them, each under ``case`` or ``case, how``. Each is made when
            its turn comes, and dropped after it.
        versions: of what they need.
        read: reads what they are given.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("given")
    parser.add_argument("told")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    one_core()
    rows: dict[str, dict[str, Any]] = {}
    answers: dict[str, Any] = {}
    for name, make in contenders(read(Path(arguments.given))).items():
        try:
            contender = make()
            answers[name] = contender.run()
            calls = contender.calls()
            milliseconds = typical(contender.run, arguments.repeats)
        # Whatever another library raises is a row of the table.
        except Exception as error:
            rows[name] = {"failed": f"{type(error).__name__}: {error}"[:300]}
        else:
            rows[name] = {"milliseconds": milliseconds, "calls": calls}
    told = Path(arguments.told)
    np.savez(told.with_suffix(".npz"), **answers)
    told.write_text(json.dumps({"rows": rows, "versions": versions()}))


def one_core() -> None:
    """Binds the process to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def typical(run: Callable[[], Any], repeats: int) -> float:
    """Milliseconds of the processor: the median of the faster half of runs."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(1e3 * (time.process_time() - start))
    return statistics.median(sorted(taken)[: -(-repeats // 2)])
