"""Safetensors files, one or many, read one tensor at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError

from jax_stepcache.checkpoints.weights import (
    checked_metadata,
    open_safetensors,
    refuse_stand_in,
    require_checksum,
)
from jax_stepcache.paths import as_path

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# What diffusers calls the files of a part of a pipeline begins with this.
_DIFFUSION = "diffusion_pytorch_"
SINGLES = (SINGLE, _DIFFUSION + SINGLE)
INDICES = (INDEX, _DIFFUSION + INDEX)


class TensorHeader(NamedTuple):
    """What a file says of a tensor before it is read.

    Attributes:
        file: where it lies.
        shape: its shape.
        dtype: safetensors' name of its dtype, such as ``"BF16"``.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str


class Shards:
    """The tensors of one safetensors file, or of a folder of them.

    Attributes:
        path: the file or the folder.
        headers: what the files' headers say, by the tensors' names.
        promised: names that the folder's index has and its files have not, with the
            file that each should be in.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Reads the headers, and nothing else.

        Args:
            path: a safetensors file; or a folder with ``model.safetensors.index.json``
                and the files that it names, or with ``model.safetensors`` alone. Their
                names may begin with ``diffusion_pytorch_``, as diffusers' do.

        Raises:
            FileNotFoundError: if there is no such file, or the index names files that
                are not there; all of them are listed.
            ValueError: if a file is cut short, foreign or a pickle, if two files have
                the same tensor, or if the index is no index.
        """
        self.path = as_path(path)
        index = _index(self.path) if self.path.is_dir() else {}
        self.headers: dict[str, TensorHeader] = {}
        for file in _files(self.path, index):
            for name, header in _headers(file).items():
                if name in self.headers:
                    raise ValueError(
                        f"{name} is in {self.headers[name].file} and in {file}"
                    )
                self.headers[name] = header
        self.promised = {
            name: file for name, file in index.items() if name not in self.headers
        }

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Reads tensors, file by file; one file is open at a time.

        A tensor is in memory from when it is asked for until the caller lets go of it:
        delete it before asking for the next.

        Args:
            names: which ones.

        Yields:
            Name and tensor, in the order of the files.

        Raises:
            ValueError: if a file cannot be read, or is not as it was written.
        """
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.headers[name].file, []).append(name)
        for file in sorted(by_file):
            with open_safetensors(file) as opened:
                _, checksums = checked_metadata(opened, file)
                for name in by_file[file]:
                    try:
                        tensor = opened.get_tensor(name)
                    except SafetensorError as error:
                        raise ValueError(f"{file}: {name}: {error}") from error
                    require_checksum(file, name, tensor, checksums)
                    yield name, tensor
                    del tensor

    @property
    def bytes_on_disk(self) -> int:
        """The size of the files together."""
        files = {header.file for header in self.headers.values()}
        return sum(file.stat().st_size for file in files)


def _index(folder: Path) -> Mapping[str, str]:
    """Which file has which tensor; empty without an index."""
    there = [folder / name for name in INDICES if (folder / name).is_file()]
    if not there:
        return {}
    path = there[0]
    refuse_stand_in(path)
    try:
        files: Any = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(files.values()))
        elsewhere = [name for name in names if not _is_inside(folder, name)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no index of safetensors files: {error!r}; it needs a "
            "'weight_map' from tensors to files"
        ) from error
    if elsewhere or not names:
        raise ValueError(
            f"{path}: 'weight_map' must name files of its own folder"
            + (f", and has {', '.join(map(repr, elsewhere[:8]))}" if names else "")
        )
    return files


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a name is that of a file in the folder, and no link leads out of it.

    Hugging Face's cache keeps files apart and links to them: in ``snapshots/<commit>``
    a link may lead into the repository's folder, two above.
    """
    # Windows has two separators; what either takes for a folder is none here.
    plain = Path(name).name == name == PureWindowsPath(name).name
    if not plain or name in ("", ".", "..") or "\0" in name:
        return False
    home = folder.resolve()
    inside = [home]
    if home.parent.name == "snapshots":
        inside.append(home.parent.parent / "blobs")
    target = (folder / name).resolve()
    return any(target.is_relative_to(one) for one in inside)


def _files(path: Path, index: Mapping[str, str]) -> list[Path]:
    """The files to open, all of which exist."""
    if not path.is_dir():
        return [path]
    single = [name for name in SINGLES if (path / name).is_file()]
    names = sorted(set(index.values())) or single[:1] or [SINGLE]
    absent = [name for name in names if not (path / name).is_file()]
    if not absent:
        return [path / name for name in names]
    if index:
        raise FileNotFoundError(
            f"the index in {path} names {len(names)} files; not there: "
            f"{', '.join(absent)}"
        )
    raise FileNotFoundError(f"{path} has neither {INDEX} nor {SINGLE}")


def _headers(file: Path) -> dict[str, TensorHeader]:
    with open_safetensors(file) as opened:
        checked_metadata(opened, file)
        slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
        return {
            name: TensorHeader(file, tuple(part.get_shape()), part.get_dtype())
            for name, part in slices.items()
        }
