"""The library's own checkpoints: a folder of Orbax checkpoints, one for each part.

``model.json`` in it names the model and its configuration, and has a checksum of
itself and of every file of the parts. A part is small beside the whole, so that one can
be made, written and checked after another; Orbax writes each of them whole or not at
all, and the folder gets its name when all are there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from jax_stepcache.checkpoints.weights import differences, flat, nested, require_fit
from jax_stepcache.meshes.by_name import PlacedByName
from jax_stepcache.meshes.explicit import no_context
from jax_stepcache.paths import as_path
from jax_stepcache.processes import are_several, by_main

from .checksums import Checksums, checksums, of_text, require_intact
from .placement import STACKED, is_stacked, placed_struct

MODEL = "model.json"
_RECORD = "source.json"


def parts_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Divides weights into parts.

    Weights of the blocks are by far the largest: a part is one matrix of all layers and
    its bias. Of the others, a part is all that has the same first name. Where a model
    has several networks, this holds of each.

    Args:
        names: the weights', with dots.

    Returns:
        The names in each part; a part's name is what the beginnings have in common.
    """
    parts: dict[str, list[str]] = {}
    for name in names:
        words = name.split(".")
        depth = words.index(STACKED) + 3 if is_stacked(name) else 1
        parts.setdefault(".".join(words[:depth]), []).append(name)
    return parts


@dataclass(frozen=True)
class FolderCheckpoint:
    """A folder as `FolderWriter` leaves it.

    Attributes:
        path: the folder.
        model: the model that ``model.json`` names.
        struct: shapes of its weights, nested dict of `jax.ShapeDtypeStruct`.
        files: checksums of the parts' files; None where an older version wrote it.
    """

    path: Path
    model: Any
    struct: Any
    files: Checksums | None = None

    def load(
        self, *, dtype: str | None = None, mesh: Mesh | PlacedByName | None = None
    ) -> Any:
        """Restores all weights, part by part.

        Args:
            dtype: to cast to; that of the checkpoint unless given.
            mesh: see `weight_sharding`; every device reads only what it holds.

        Returns:
            Nested dict of arrays.

        Raises:
            ValueError: if files are not as they were written; with all missing, extra,
                misshapen and non-finite weights; or if a part cannot be read.
        """
        wanted = {name: struct.shape for name, struct in flat(self.struct).items()}
        folder = self.path.absolute()
        if self.files is not None:
            require_intact(folder, self.files, folder / MODEL)
        weights: dict[str, jax.Array] = {}
        with ocp.StandardCheckpointer() as checkpointer:
            stored = _stored(checkpointer, folder, parts_of(wanted))
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
        with no_context():
            found = jax.device_get(_all_finite(weights))
        faults += [
            f"not finite: {name}" for name, finite in found.items() if not finite
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
        by_main(self._refuse_existing)
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        by_main(lambda: self._begin(record))

    def _refuse_existing(self) -> None:
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists; give a new name, or remove it")

    def _begin(self, record: Mapping[str, Any] | None) -> None:
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
        return by_main((self.partial / part).is_dir)

    def write(self, part: str, weights: Mapping[str, jax.Array]) -> None:
        """Writes a part.

        Args:
            part: its name.
            weights: its arrays by their names, with dots. Of several processes all
                call this, and each writes its parts of what lies on devices of all.
        """
        by_main(lambda: self._clear(part))
        if are_several():
            weights = {name: _of_all(x) for name, x in weights.items()}
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(
                (self.partial / part).absolute(), nested(weights, str(self.partial))
            )
            checkpointer.wait_until_finished()

    def _clear(self, part: str) -> None:
        for left in self.partial.glob(f"{part}.orbax-checkpoint-tmp*"):
            shutil.rmtree(left)

    def finish(self, name: str, config: Mapping[str, Any]) -> None:
        """Gives the folder its name.

        Args:
            name: the model's.
            config: its configuration, as JSON.

        Raises:
            FileExistsError: if there is something of that name by now.
        """
        by_main(lambda: self._finish(name, config))

    def _finish(self, name: str, config: Mapping[str, Any]) -> None:
        said = {"model": name, "config": config, "files": self._checksums()}
        said["checksum"] = _checksum_of(said)
        _write_json(self.partial / MODEL, said)
        (self.partial / _RECORD).unlink(missing_ok=True)
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists; the new one is {self.partial}")
        self.partial.rename(self.path)

    def _checksums(self) -> Checksums:
        parts = sorted(child for child in self.partial.iterdir() if _is_part(child))
        return {
            f"{part.name}/{name}": one
            for part in parts
            for name, one in checksums(part).items()
        }


class Description(NamedTuple):
    """What ``model.json`` says.

    Attributes:
        model: the model's name.
        config: its configuration.
        files: checksums of the parts' files; None where an older version wrote it.
    """

    model: str
    config: dict[str, Any]
    files: Checksums | None


def read_description(folder: Path) -> Description:
    """Reads ``model.json``.

    Args:
        folder: the checkpoint.

    Returns:
        What it says.

    Raises:
        ValueError: if it does not say which model it is, or has been changed.
    """
    path = folder / MODEL
    said = _json(path)
    kinds = {"model": str, "config": dict}
    if not isinstance(said, dict) or not all(
        isinstance(said.get(name), kind) for name, kind in kinds.items()
    ):
        raise ValueError(f"{path} needs 'model' and 'config', got {said!r:.200}")
    # Files of an older version have neither; one without the other has been changed.
    if {"checksum", "files"} & said.keys() and said.get("checksum") != _checksum_of(
        {name: value for name, value in said.items() if name != "checksum"}
    ):
        raise ValueError(
            f"{path} has changed since it was written, by its own checksum"
        )
    return Description(said["model"], said["config"], said.get("files"))


def _checksum_of(said: Mapping[str, Any]) -> int:
    """Of what ``model.json`` says, however it is laid out."""
    return of_text(json.dumps(said, sort_keys=True))


def _stored(
    checkpointer: ocp.StandardCheckpointer, folder: Path, wanted: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Shapes and dtypes of the arrays in each part that is there.

    People and programs keep folders of their own beside the parts, copies of parts
    among them. One that is not wanted is a part only if its name is that of the
    weights in it: then the checkpoint is of another model.
    """
    stored = {}
    for child in sorted(child for child in folder.iterdir() if child.is_dir()):
        if child.name not in wanted and not _is_part(child):
            continue
        try:
            found = _read(child, lambda path: _metadata(checkpointer, path))
        except ValueError:
            if child.name in wanted:
                raise
            continue
        if child.name in wanted or set(parts_of(found)) == {child.name}:
            stored[child.name] = found
    return stored


def _is_part(folder: Path) -> bool:
    """Whether a folder is a checkpoint of Orbax that is whole."""
    unfinished = ".orbax-checkpoint-tmp" in folder.name
    return not unfinished and (folder / "_METADATA").is_file()


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


def _of_all(x: Any) -> Any:
    """Of what each process has for itself there is one, for one of them to write."""
    return jax.device_get(x) if x.is_fully_addressable else x


@jax.jit
def _all_finite(weights: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Of each weight; one program for all, for compiling is what takes time."""
    return {name: jnp.isfinite(weight).all() for name, weight in weights.items()}


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def _write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(value, indent=1))
    os.replace(temporary, path)
