"""Weights on disk: safetensors, checked when read and never half written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save


def save_weights(
    path: str | os.PathLike[str], weights: Any, metadata: Mapping[str, str]
) -> None:
    """Writes weights to one safetensors file, under a temporary name, then renames it.

    Args:
        path: the file.
        weights: nested dict of arrays; names are joined with dots.
        metadata: strings that travel in the file's header.
    """
    path = Path(path)
    # Not ascontiguousarray, which gives a scalar an axis.
    flat = {
        name: np.asarray(jax.device_get(x), order="C") for name, x in _flat(weights)
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(save(flat, dict(metadata)))
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
            nest, or is a pickle (which is never opened: unpickling runs whatever code
            the file holds).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}")
    with path.open("rb") as file:
        start = file.read(8)
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or (
        start[:4] == b"PK\x03\x04"
    ):
        raise ValueError(
            f"{path} is a pickle or a PyTorch archive; weights are read from "
            "safetensors only, because unpickling runs code from the file"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is cut short or is no safetensors file: {error}"
        ) from error
    return _nested(flat, str(path)), metadata


def check_weights(weights: Any, wanted: Any, source: str) -> None:
    """Compares weights with what a model needs, and lists every difference at once.

    Args:
        weights: nested dict of arrays.
        wanted: nested dict of `jax.ShapeDtypeStruct`.
        source: where the weights come from, for the error.

    Raises:
        ValueError: with all missing, extra, misshapen and non-finite tensors.
    """
    given, needed = dict(_flat(weights)), dict(_flat(wanted))
    faults = [f"missing: {name}" for name in sorted(needed.keys() - given.keys())]
    faults += [f"extra: {name}" for name in sorted(given.keys() - needed.keys())]
    for name in sorted(given.keys() & needed.keys()):
        if given[name].shape != needed[name].shape:
            faults.append(
                f"shape: {name} is {given[name].shape}, the model has "
                f"{needed[name].shape}"
            )
        elif not np.isfinite(np.asarray(given[name], np.float32)).all():
            faults.append(f"not finite: {name}")
    if faults:
        listed = "\n  ".join(faults)
        raise ValueError(f"{source} does not fit the model:\n  {listed}")


def _flat(tree: Any) -> list[tuple[str, Any]]:
    return [
        (".".join(str(getattr(key, "key", key)) for key in path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _nested(flat: Mapping[str, Any], source: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in flat.items():
        *folders, leaf = name.split(".")
        node = tree
        for depth, folder in enumerate(folders, start=1):
            if (outer := ".".join(folders[:depth])) in flat:
                raise ValueError(
                    f"{source} has a tensor {outer!r} and one inside it, {name!r}"
                )
            node = node.setdefault(folder, {})
        node[leaf] = array
    return tree
