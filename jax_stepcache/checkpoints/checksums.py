"""Checksums of files: what a disk or a copy has changed is told, not loaded.

Orbax compresses arrays without a checksum, so a flipped bit in one would load as other
numbers. The library keeps one of every file beside its own checkpoints. They are
CRC-32: they find accidents, not somebody who changes both.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK = 1 << 22

Checksums = dict[str, list[int]]
"""Size in bytes and CRC-32 of each file, by its name within a folder."""


def checksums(folder: Path) -> Checksums:
    """Reads all files in a folder, and in those inside it.

    Args:
        folder: the folder.

    Returns:
        Their checksums, by names with slashes.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(_of_file, files))
    return {
        file.relative_to(folder).as_posix(): one
        for file, one in zip(files, found, strict=True)
    }


def require_intact(folder: Path, wanted: Any, record: Path) -> None:
    """Compares files with their checksums.

    Args:
        folder: the folder.
        wanted: as from `checksums`, read from JSON; files that it does not have are
            passed over.
        record: the file that it is from, for errors.

    Raises:
        ValueError: naming files that are not there, cut short or changed.
    """
    if not isinstance(wanted, Mapping) or not all(map(_is_one, wanted.values())):
        raise ValueError(f"{record} has no checksums where they should be")
    present = [name for name in wanted if (folder / name).is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        each = list(pool.map(lambda name: _of_file(folder / name), present))
    found = dict(zip(present, each, strict=True))
    faults = []
    for name, (size, checksum) in wanted.items():
        part, _, file = name.partition("/")
        if name not in found:
            faults.append(f"{part} is cut short: {file} is not there")
        elif found[name][0] < size:
            has = f"{file} has {found[name][0]} of {size} bytes"
            faults.append(f"{part} is cut short: {has}")
        elif found[name] != [size, checksum]:
            faults.append(f"{part} has changed: {file} is not as it was written")
    if faults:
        listed = "\n  ".join(sorted(faults)[:20])
        raise ValueError(
            f"{folder} is damaged, {len(faults)} of its {len(wanted)} files, by the "
            f"checksums in {record.name}:\n  {listed}"
        )


def of_text(text: str) -> int:
    """The CRC-32 of a text."""
    return zlib.crc32(text.encode())


def of_array(array: np.ndarray) -> int:
    """The CRC-32 of an array: its dtype, its shape and its bytes in C order."""
    kind = of_text(f"{array.dtype.name}{list(array.shape)}")
    if not array.size:
        return kind
    numbers = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return zlib.crc32(numbers.data, kind)


def _is_one(given: Any) -> bool:
    return (
        isinstance(given, list)
        and len(given) == 2
        and all(isinstance(number, int) for number in given)
    )


def _of_file(path: Path) -> list[int]:
    size = checksum = 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            size += len(part)
            checksum = zlib.crc32(part, checksum)
    return [size, checksum]
