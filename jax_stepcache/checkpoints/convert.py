"""Somebody's safetensors to a folder of ours."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.weights import require_fit

from .folder import FolderWriter, parts_of
from .streaming import StreamedCheckpoint


def convert(
    source: StreamedCheckpoint,
    target: str | os.PathLike[str],
    config: Mapping[str, Any],
    *,
    dtype: str | None = None,
    on_read: Callable[[int], None] | None = None,
) -> None:
    """Writes a checkpoint in the library's own format, part by part.

    Of the weights, one part is in memory at a time. Interrupted, it leaves
    ``target.partial``, and the next call goes on with the part that was not finished.

    Args:
        source: the checkpoint.
        target: the folder to be.
        config: the model's, as JSON.
        dtype: to cast to; that of the checkpoint unless given.
        on_read: is told the bytes of each tensor read, and of those that an
            interrupted call had read.

    Raises:
        FileExistsError: if there is something named ``target``.
        ValueError: with all missing, extra, misshapen and non-finite tensors, or if
            ``target.partial`` was begun from another checkpoint or with another dtype.
    """
    faults = source.faults()
    record = {
        "source": str(Path(source.shards.path).resolve()),
        "bytes": source.shards.bytes_on_disk,
        "dtype": dtype,
    }
    writer = None if faults else FolderWriter(target, record)
    for part, names in parts_of(source.plan).items():
        if writer is not None and writer.has(part):
            if on_read is not None:
                on_read(source.bytes_of(names))
            continue
        weights = source.stream(names, faults, dtype=dtype, on_read=on_read)
        if writer is not None and not faults:
            writer.write(part, weights)
        del weights
    require_fit(str(source.shards.path), faults)
    if writer is not None:
        writer.finish(source.model.name, config)
