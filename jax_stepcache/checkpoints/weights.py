"""Weights on disk: safetensors, checked when read and never half written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jax_stepcache.checkpoints.checksums import of_array, of_text
from jax_stepcache.checkpoints.layers import is_apart, put_together
from jax_stepcache.paths import as_path
from jax_stepcache.processes import by_main, gathered

# The header's entry with checksums; a name that nobody else gives one.
CHECKSUMS = "jax_stepcache.checksums"


def save_weights(
    path: str | os.PathLike[str], weights: Any, metadata: Mapping[str, str]
) -> None:
    """Writes weights to one safetensors file, under a temporary name, then renames it.

    Checksums of metadata and tensors travel in the header, and are compared when the
    file is read.

    Args:
        path: the file.
        weights: nested dict of arrays; names are joined with dots.
        metadata: strings that travel in the file's header.
    """
    path = as_path(path)
    # Every process takes part where weights lie on devices of all, and one writes.
    # Not ascontiguousarray, which gives a scalar an axis.
    tensors = {
        name: np.asarray(put_together(gathered(x)), order="C")
        for name, x in flat(weights).items()
    }
    by_main(lambda: _write(path, tensors, metadata))


def _write(
    path: Path, tensors: dict[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        header = {**metadata, CHECKSUMS: json.dumps(_checksums(tensors, metadata))}
        temporary.write_bytes(save(tensors, header))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads weights from a safetensors file.

    Args:
        path: the file.

    Returns:
        The weights as a nested dict of NumPy arrays, and the header's metadata.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is cut short, is no safetensors file, has names that do not
            nest, is not as it was written, or is a pickle (which is never opened:
            unpickling runs whatever code the file holds).
    """
    with open_safetensors(path) as file:
        metadata, wanted = checked_metadata(file, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        require_checksum(path, name, tensor, wanted)
    return nested(tensors, str(path)), metadata


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads the metadata in a safetensors file's header, and nothing else.

    Args:
        path: the file.

    Returns:
        The metadata; empty if there is none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is cut short, is no safetensors file, is not as it was
            written, or is a pickle.
    """
    with open_safetensors(path) as file:
        return checked_metadata(file, path)[0]


def checked_metadata(
    file: Any, path: str | os.PathLike[str]
) -> tuple[dict[str, str], dict[str, int]]:
    """The metadata of an open file, compared with its own checksum.

    Args:
        file: as from `open_safetensors`.
        path: where it lies, for errors.

    Returns:
        The metadata without the checksums; and these, by the tensors' names. Files of
        others, and of older versions, have none.

    Raises:
        ValueError: if the metadata is not as it was written.
    """
    metadata = dict(file.metadata() or {})
    if CHECKSUMS not in metadata:
        return metadata, {}
    written = metadata.pop(CHECKSUMS)
    try:
        wanted = dict(json.loads(written))
        own = wanted.pop("")
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} has no checksums where they should be") from error
    if own != _of_header(wanted, metadata) or set(wanted) != set(file.keys()):
        raise ValueError(
            f"the header of {path} has changed since it was written, by its checksum"
        )
    return metadata, wanted


def require_checksum(
    path: str | os.PathLike[str],
    name: str,
    tensor: np.ndarray,
    wanted: Mapping[str, int],
) -> None:
    """Compares a tensor with its checksum, where there is one.

    Args:
        path: where it lies, for errors.
        name: its name.
        tensor: the tensor.
        wanted: checksums by name, as from `checked_metadata`.

    Raises:
        ValueError: if it is not as it was written.
    """
    if name in wanted and of_array(tensor) != wanted[name]:
        raise ValueError(
            f"{path}: {name} has changed since it was written, by its checksum"
        )


def _checksums(
    tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> dict[str, int]:
    """Of tensors by name, and under the empty name of all else."""
    found = {name: of_array(tensor) for name, tensor in tensors.items()}
    return {**found, "": _of_header(found, metadata)}


def _of_header(found: Mapping[str, int], metadata: Mapping[str, str]) -> int:
    return of_text(json.dumps([dict(found), dict(metadata)], sort_keys=True))


@contextmanager
def open_safetensors(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Opens a safetensors file for reading.

    Args:
        path: the file.

    Yields:
        What `safetensors.safe_open` does, with NumPy arrays; bfloat16 included.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is cut short, is no safetensors file, or is a pickle.
    """
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    refuse_pickle(path)
    refuse_stand_in(path)
    try:
        opened = safe_open(path, framework="numpy")
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is cut short or is no safetensors file: {error}"
        ) from error
    with opened:
        yield opened


def refuse_stand_in(path: Path) -> None:
    """Refuses what often lies where weights, or their index, should.

    Args:
        path: the file.

    Raises:
        ValueError: if it is a Git LFS pointer, or a web page.
    """
    with path.open("rb") as file:
        start = file.read(256).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path} is a Git LFS pointer, not the file itself: git lfs pull fetches it"
        )
    if start.startswith((b"<!doctype html", b"<html")):
        raise ValueError(
            f"{path} is a web page (HTML), which came in place of the file"
        )


def refuse_pickle(path: Path) -> None:
    """Refuses what would have to be unpickled, which runs whatever code the file holds.

    Args:
        path: the file.

    Raises:
        ValueError: if it is a pickle or a PyTorch archive.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or (
        start[:4] == b"PK\x03\x04"
    ):
        raise ValueError(
            f"{path} is a pickle or a PyTorch archive; weights are read from "
            "safetensors only, because unpickling runs code from the file. Where there "
            "is PyTorch, turn it into one, once: torch.load(..., weights_only=True), "
            "then safetensors.torch.save_file"
        )


def differences(
    given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """Compares the tensors there are with those that a model needs.

    Args:
        given: shapes by name.
        wanted: shapes by name.

    Returns:
        A line for each that is missing, extra or misshapen, in the order of the names
        within each kind.
    """
    faults = [f"missing: {name}" for name in sorted(wanted.keys() - given.keys())]
    faults += [f"extra: {name}" for name in sorted(given.keys() - wanted.keys())]
    faults += [
        f"shape: {name} is {tuple(given[name])}, the model has {tuple(wanted[name])}"
        for name in sorted(given.keys() & wanted.keys())
        if tuple(given[name]) != tuple(wanted[name])
    ]
    return faults


def require_fit(source: str, faults: list[str]) -> None:
    """Raises the one error that lists all that is wrong with a checkpoint.

    Args:
        source: where the weights come from.
        faults: a line each; none is fine.

    Raises:
        ValueError: if there are faults.
    """
    if faults:
        listed = "\n  ".join(sorted(faults))
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise ValueError(f"{source} does not fit the model, {count}:\n  {listed}")


def flat(tree: Any) -> dict[str, Any]:
    """Names the leaves of a nested dict, joining the keys with dots.

    Args:
        tree: nested dict.

    Returns:
        Its leaves by name; layers that are apart are one.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_apart)
    return {
        ".".join(str(getattr(key, "key", key)) for key in path): leaf
        for path, leaf in leaves
    }


def nested(tensors: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Undoes `flat`.

    Args:
        tensors: leaves by name.
        source: where they come from, for the error.

    Returns:
        Nested dict.

    Raises:
        ValueError: if a leaf's name is that of a dict.
    """
    tree: dict[str, Any] = {}
    for name, array in tensors.items():
        *folders, leaf = name.split(".")
        node = tree
        for depth, folder in enumerate(folders, start=1):
            if (outer := ".".join(folders[:depth])) in tensors:
                raise ValueError(
                    f"{source} has a tensor {outer!r} and one inside it, {name!r}"
                )
            node = node.setdefault(folder, {})
        node[leaf] = array
    return tree
