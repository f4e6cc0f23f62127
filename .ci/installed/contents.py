"""Compares wheels with the source: each has every file of the library, and no other.

python contents.py SOURCE WHEEL...
"""

import sys
import zipfile
import zlib
from pathlib import Path

# Where the source keeps the packages, and what they are called when installed.
FOLDERS = {"models": "jax_stepcache/models", "jax_stepcache": "jax_stepcache"}


def of_source(source: Path) -> dict[str, int]:
    """The library's files by their installed names, and their checksums."""
    return {
        f"{name}/{file.relative_to(source / folder).as_posix()}": zlib.crc32(
            file.read_bytes()
        )
        for folder, name in FOLDERS.items()
        for file in (source / folder).rglob("*")
        if file.is_file()
    }


def of_wheel(wheel: Path) -> dict[str, int]:
    """The same of a wheel, without its metadata."""
    return {
        file.filename: file.CRC
        for file in zipfile.ZipFile(wheel).infolist()
        if ".dist-info/" not in file.filename
    }


def main() -> None:
    """Compares; the exit status is 1 if anything differs."""
    source, *wheels = map(Path, sys.argv[1:])
    expected = of_source(source)
    for wheel in wheels:
        differing = [name for name, _ in of_wheel(wheel).items() ^ expected.items()]
        if differing:
            sys.exit(f"{wheel} is not the source in {sorted(set(differing))}")
        print(f"{wheel.name}: {len(expected)} files, those of the source")


if __name__ == "__main__":
    main()
