"""``jax-stepcache convert``: a released checkpoint to the library's own format."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jax_stepcache.checkpoints.streaming import StreamedCheckpoint
from jax_stepcache.network.offered import in_dtype
from jax_stepcache.network.registry import description, open_checkpoint


def run(parsed: argparse.Namespace) -> None:
    """Runs the command."""
    from jax_stepcache.checkpoints.convert import convert

    checkpoint = open_checkpoint(parsed.source, parsed.part)
    if not isinstance(checkpoint, StreamedCheckpoint):
        raise ValueError(f"{parsed.source} is in this format already")
    model = in_dtype(checkpoint.model, parsed.dtype)
    with progress(checkpoint.bytes_of(checkpoint.plan)) as on_read:
        convert(
            checkpoint,
            parsed.target,
            description(model)[1],
            dtype=parsed.dtype,
            on_read=on_read,
        )
    print(f"{parsed.source} -> {parsed.target}")


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes where tqdm is installed, otherwise a line every few seconds.

    Args:
        total: how many there will be.

    Yields:
        A function that is told how many more have been read.
    """
    try:
        import tqdm.auto
    except ImportError:
        yield _Lines(total)
        return
    with tqdm.auto.tqdm(total=total, unit="B", unit_scale=True) as bar:

        def advance(count: int) -> None:
            bar.update(count)

        yield advance


class _Lines:
    """Progress in plain lines."""

    def __init__(self, total: int, seconds: float = 5.0):
        self._total = total
        self._seconds = seconds
        self._read = 0
        self._last = time.monotonic()

    def __call__(self, count: int) -> None:
        self._read += count
        now = time.monotonic()
        if now - self._last >= self._seconds or self._read == self._total:
            self._last = now
            print(f"{self._read / 1e9:.1f} of {self._total / 1e9:.1f} GB", flush=True)
