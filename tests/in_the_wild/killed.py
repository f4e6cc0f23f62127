"""Work that is killed at some moment: `test_files.py` runs this in another process.

The process imports everything and starts nothing. For each moment it forks a child that
does the work and dies by SIGKILL: half of them at a certain operation on files, the
others at a certain time. Then another child does the same work again, to the end.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_stepcache.checkpoints.convert import convert
from jax_stepcache.models.training import fit
from jax_stepcache.network.registry import description, load_params, open_checkpoint
from jax_stepcache.network.registry import save_params as save

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "shutil.rmtree"}
OPTIMIZER = optax.adam(0.1)


class Settings(NamedTuple):
    """Of a run that is short."""

    steps: int = 5
    seed: int = 0
    decay: float = 0.9
    accumulate: int = 1


def save_params(source: Path, target: Path) -> Any:
    """Saves what the source holds."""
    save(target, load_params(source))


def convert_file(source: Path, target: Path) -> Any:
    """Converts the source, or goes on with that."""
    checkpoint = open_checkpoint(source)
    convert(checkpoint, target, description(checkpoint.model)[1])


def train(source: Path, target: Path) -> Any:
    """Trains, or goes on."""
    del source
    there = target.is_dir() and any(one.name.isdecimal() for one in target.iterdir())
    return fit(
        target,
        {"w": jnp.ones(3)},
        loss=_loss,
        optimizer=OPTIMIZER,
        batch_at=lambda step: jnp.arange(3.0) + step,
        settings=Settings(),
        resume=there,
        save_every=1,
    )


WORK: dict[str, Callable[[Path, Path], Any]] = {
    "save_params": save_params,
    "convert": convert_file,
    "train": train,
}


def main(what: str, source: Path, folder: Path, moments: int, seed: int) -> None:
    """Does some work whole, then kills it at as many moments; tells how it went.

    What a child that was killed has left under the name of its work is kept beside it,
    ending in ``.left``, before the work is done again.

    Args:
        what: of `WORK`.
        source: a file of weights.
        folder: gets ``whole`` and ``0`` to ``moments - 1``.
        moments: how many.
        seed: draws them.
    """
    draw = random.Random(seed)
    start = time.monotonic()
    count = folder / "count"
    whole = _begin(what, source, folder / "whole", None, count)
    assert _wait(whole) == 0, "the work fails without being killed"
    seconds, operations = time.monotonic() - start, int(count.read_text())
    hit, failed = 0, []
    for moment in range(moments):
        target = folder / str(moment)
        last = draw.randint(1, operations) if moment % 2 else None
        child = _begin(what, source, target, last, None)
        if last is None:
            time.sleep(draw.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
        hit += _wait(child) == -signal.SIGKILL
        if target.exists():
            shutil.copytree(target, folder / f"{moment}.left")
        # Training goes on; what is saved is whole, and is not saved again.
        if what == "train" or not target.exists():
            again = _wait(_begin(what, source, target, None, None))
            failed += [moment] * (again != 0)
    print(json.dumps({"hit": hit, "operations": operations, "failed": failed}))


def _begin(
    what: str, source: Path, target: Path, last: int | None, count: Path | None
) -> int:
    """Forks a child that does the work, up to some operation on files."""
    child = os.fork()
    if child:
        return child
    done = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if (event in CHANGES or writes) and str(target) in str(arguments[0]):
            done += 1
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(watch)
        WORK[what](source, target)
        if count is not None:
            count.write_text(str(done))
    except BaseException as error:
        print(f"{what} {target}: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _loss(weights: Any, frozen: Any, batch: Any, key: jax.Array) -> Any:
    error = jnp.mean((weights["w"] * batch - 2 * batch) ** 2)
    return error, {"error": error}


if __name__ == "__main__":
    name, weights, place, number, drawn = sys.argv[1:]
    main(name, Path(weights), Path(place), int(number), int(drawn))
