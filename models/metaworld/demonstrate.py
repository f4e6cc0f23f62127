"""Has Meta-World's experts demonstrate the tasks, and writes what is learned from.

    python -m jax_stepcache.models.metaworld.demonstrate --out out/metaworld-demos

An episode is a function of its seed and has a file of its own, so the same command goes
on where it was stopped, and one that asks for more episodes makes those that are not
there. At the end all are cut into sequences in the layout that ``jax-stepcache
finetune`` reads (`dreamzero.training.Chunks`).
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from jax_stepcache.paths import path_option

from ..training.command import run_command
from .episodes import Wanted, save_episode, wanted_episodes
from .layout import check_blocks, write_layout
from .tasks import NAMES

# Episodes that a process is given at a time: the simulator is loaded once for them.
_TOGETHER = 10
_BLOCKS = 4


def collect(folder: Path, wanted: Sequence[Wanted], processes: int) -> None:
    """Makes the episodes that are not there, with a progress bar.

    Args:
        folder: of the run.
        wanted: the episodes.
        processes: how many work side by side.

    Raises:
        ValueError: for no process.
        ImportError: without the simulator.
        OSError: where pictures cannot be drawn, or a process has ended.
    """
    if processes < 1:
        raise ValueError(f"processes is {processes}; it must be at least 1")
    missing = [one for one in wanted if not one.path(folder).exists()]
    jobs = list(jobs_of(missing))
    # Anew and not forked: a drawing context cannot be shared.
    context = multiprocessing.get_context("spawn")
    with (
        _Bar(len(wanted), len(wanted) - len(missing)) as bar,
        ProcessPoolExecutor(processes, context) as pool,
    ):
        running = [pool.submit(_work, folder, job) for job in jobs]
        try:
            for done in as_completed(running):
                bar.update(done.result())
        except BrokenProcessPool as error:
            raise OSError(
                "a process that simulates has ended (out of memory?); the same "
                "command goes on"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def jobs_of(missing: Sequence[Wanted]) -> Iterator[tuple[Wanted, ...]]:
    """Some episodes of one task each, the tasks in turn as far as they go."""
    of_task: dict[str, list[Wanted]] = {}
    for one in missing:
        of_task.setdefault(one.task, []).append(one)
        if len(of_task[one.task]) == _TOGETHER:
            yield tuple(of_task.pop(one.task))
    yield from map(tuple, of_task.values())


def _work(folder: Path, job: tuple[Wanted, ...]) -> int:
    """Makes some episodes of a task, in a process of its own."""
    from .expert import demonstrate, expert_of
    from .world import World

    # Meta-World's, about its own experts, whose actions are clipped.
    warnings.filterwarnings("ignore", message="Constant.s. may be too high")
    world, expert = World(job[0].task), expert_of(job[0].task)
    for one in job:
        save_episode(folder, one, demonstrate(world, expert, one.seed))
    world.close()
    return len(job)


class _Bar:
    """How far it is: a bar where tqdm is installed, otherwise a line now and then."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._begun = total, done, done
        self._start = self._told = time.perf_counter()
        self._bar = None

    def __enter__(self) -> _Bar:
        try:
            import tqdm.auto
        except ImportError:
            return self
        self._bar = tqdm.auto.tqdm(
            total=self._total, initial=self._done, unit="episode", mininterval=1
        )
        return self

    def update(self, count: int) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.perf_counter()
        if now - self._told > 10 or self._done == self._total:
            self._told = now
            rate = (self._done - self._begun) / (now - self._start)
            print(f"{self._done} of {self._total} episodes, {rate:.1f} a second")

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def main() -> None:
    """Demonstrates from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--out", type=path_option, required=True, help="folder of the demonstrations"
    )
    parser.add_argument("--tasks", nargs="+", default=NAMES, help=", ".join(NAMES))
    parser.add_argument("--episodes", type=int, default=400, help="of each task")
    parser.add_argument("--processes", type=int, default=2, help="side by side")
    parser.add_argument("--blocks", type=int, default=_BLOCKS, help="chunks a sequence")
    parser.add_argument("--seed", type=int, default=0)
    parsed = parser.parse_args()
    wanted = wanted_episodes(tuple(parsed.tasks), parsed.episodes, parsed.seed)
    check_blocks(parsed.blocks)
    collect(parsed.out, wanted, parsed.processes)
    print(write_layout(parsed.out, wanted, parsed.blocks))


if __name__ == "__main__":
    sys.exit(run_command(main))
