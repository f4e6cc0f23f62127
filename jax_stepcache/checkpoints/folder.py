"""The library's own checkpoints: a folder of Orbax checkpoints, one for each part.

``model.json`` in it names the model and its configuration. A part is small beside the
whole, so that one can be made, written and checked after another; Orbax writes each of
them whole or not at all, and the folder gets its name when all are there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from jax_stepcache.checkpoints.weights import differences, flat, nested, require_fit
from jax_stepcache.paths import as_path

from .placement import is_stacked, placed_struct

MODEL = "model.json"
_RECORD = "source.json"


def parts_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Divides weights into parts.

    Weights of the blocks are by far the largest: a part is one matrix of all layers and
    its bias. Of the others, a part is all that has the same first name.

    Args:
        names: the weights', with dots.

    Returns:
        The names in each part; a part's name is what the beginnings have in common.
    """
    parts: dict[str, list[str]] = {}
    for name in names:
        depth = 3 if is_stacked(name) else 1
        parts.setdefault(".".join(name.split(".")[:depth]), []).append(name)
    return parts


@dataclass(frozen=True)
class FolderCheckpoint:
    """A folder as `FolderWriter` leaves it.

    Attributes:
        path: the folder.
        model: the model that ``model.json`` names.
        struct: shapes of its weights, nested dict of `jax.ShapeDtypeStruct`.
    """

    path: Path
    model: Any
    struct: Any

    def load(self, *, dtype: str | None = None, mesh: Mesh | None = None) -> Any:
        """Restores all weights, part by part.

        Args:
            dtype: to cast to; that of the checkpoint unless given.
            mesh: see `placement`; every device reads only what it holds.

        Returns:
            Nested dict of arrays.

        Raises:
            ValueError: with all missing, extra, misshapen and non-finite weights, or if
                a part cannot be read.
        """
        wanted = {name: struct.shape for name, struct in flat(self.struct).items()}
        folder = self.path.absolute()
        parts = sorted(child.name for child in folder.iterdir() if child.is_dir())
        weights: dict[str, jax.Array] = {}
        with ocp.StandardCheckpointer() as checkpointer:
            stored = {
                part: _read(folder / part, lambda path: _metadata(checkpointer, path))
                for part in parts
            }
            given = {
                name: found.shape
                for part in stored.values()
                for name, found in part.items()
            }
            faults = differences(given, wanted)
            for part, found in stored.items():
                structs = {
                    name: placed_struct(
                        mesh,
                        name,
                        jax.ShapeDtypeStruct(array.shape, dtype or array.dtype),
                    )
                    for name, array in found.items()
                }
                template = nested(structs, str(folder / part))
                weights |= _read(
                    folder / part,
                    lambda path, like=template: flat(checkpointer.restore(path, like)),
                )
        faults += [
            f"not finite: {name}"
            for name, finite in jax.device_get(_all_finite(weights)).items()
            if not finite
        ]
        require_fit(str(self.path), faults)
        return nested(weights, str(self.path))


class FolderWriter:
    """Writes a checkpoint part by part, under a temporary name until it is whole.

    Attributes:
        path: the folder to be.
        partial: where the parts are until then, ``path`` with ``.partial`` behind it.
    """

    def __init__(
        self, path: str | os.PathLike[str], record: Mapping[str, Any] | None = None
    ):
        """Begins, or goes on where an interrupted writer stopped.

        Args:
            path: the folder to be.
            record: what the weights are made from, as JSON. A writer with the same
                record keeps the parts that are there; without one it begins anew.

        Raises:
            FileExistsError: if there is something of that name.
            ValueError: if the parts of an interrupted writer were made from something
                else.
        """
        self.path = as_path(path)
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists; give a new name, or remove it")
        before = self.partial / _RECORD
        if before.is_file():
            found = _json(before)
            if found != record:
                raise ValueError(
                    f"{self.partial} was begun from {found}, not from {record}; finish "
                    "that one first, or remove it"
                )
        elif self.partial.exists():
            shutil.rmtree(self.partial)
        self.partial.mkdir(parents=True, exist_ok=True)
        if record is not None:
            _write_json(before, record)

    def has(self, part: str) -> bool:
        """Whether a part is written."""
        # Orbax gives a folder its name when it is whole.
        return (self.partial / part).is_dir()

    def write(self, part: str, weights: Mapping[str, jax.Array]) -> None:
        """Writes a part.

        Args:
            part: its name.
            weights: its arrays by their names, with dots.
        """
        for left in self.partial.glob(f"{part}.orbax-checkpoint-tmp*"):
            shutil.rmtree(left)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(
                (self.partial / part).absolute(), nested(weights, str(self.partial))
            )
            checkpointer.wait_until_finished()

    def finish(self, name: str, config: Mapping[str, Any]) -> None:
        """Gives the folder its name.

        Args:
            name: the model's.
            config: its configuration, as JSON.

        Raises:
            FileExistsError: if there is something of that name by now.
        """
        _write_json(self.partial / MODEL, {"model": name, "config": config})
        (self.partial / _RECORD).unlink(missing_ok=True)
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists; the new one is {self.partial}")
        self.partial.rename(self.path)


def read_description(folder: Path) -> tuple[str, dict[str, Any]]:
    """What ``model.json`` says.

    Args:
        folder: the checkpoint.

    Returns:
        The model's name and its configuration.

    Raises:
        ValueError: if it says neither.
    """
    said = _json(folder / MODEL)
    if not isinstance(said, dict) or not {"model", "config"} <= said.keys():
        raise ValueError(f"{folder / MODEL} needs 'model' and 'config', got {said}")
    return said["model"], said["config"]


def _metadata(checkpointer: ocp.StandardCheckpointer, path: Path) -> dict[str, Any]:
    """Shapes and dtypes of a part's arrays, by name."""
    item: Any = checkpointer.metadata(path).item_metadata
    return flat(item.tree)


def _read(path: Path, read: Any) -> dict[str, Any]:
    """Reads something of a part; what is wrong with it raises errors of many kinds."""
    try:
        return read(path)
    except Exception as error:  # TensorStore's own have no type
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} is cut short or is no Orbax checkpoint: {first}"
        ) from error


@jax.jit
def _all_finite(weights: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Of each weight; one program for all, for compiling is what takes time."""
    return {name: jnp.isfinite(weight).all() for name, weight in weights.items()}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def _write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1))
    os.replace(temporary, path)
