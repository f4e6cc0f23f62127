"""Orbax checkpoints of others, read one array at a time as safetensors are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jax_stepcache.paths import as_path

from .shards import Shards, TensorHeader

METADATA = "_METADATA"
"""A file that a folder of Orbax's has."""

# safetensors' names of dtypes, which headers have.
_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}
# What a parameter of Flax NNX is wrapped into.
_VALUE = "value"


class OrbaxArrays(Shards):
    """The arrays of one Orbax checkpoint; names are paths, joined by ``/``.

    A tree that has all below one name is taken without it, and so is ``value`` at the
    end of every name, as Flax NNX writes them.

    Attributes:
        path: the folder.
        headers: shapes and dtypes, by name.
        promised: none.
    """

    def __init__(self, path: str | os.PathLike[str], below: str = "params"):
        """Reads the metadata, and nothing else.

        Args:
            path: the folder, with ``_METADATA`` in it.
            below: the one name that all others may lie under.

        Raises:
            FileNotFoundError: if there is no such folder.
            ValueError: if it is cut short or no checkpoint of Orbax.
        """
        self.path = as_path(path)
        if not (self.path / METADATA).is_file():
            raise FileNotFoundError(f"{self.path} has no {METADATA}, as Orbax's have")
        self.promised = {}
        self._paths = _paths(_told(self.path), below)
        self.headers = {
            name: TensorHeader(self.path, tuple(said.shape), _dtype(said.dtype))
            for name, (_, said) in self._paths.items()
        }

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Reads arrays one after another; see `Shards.read`.

        Args:
            names: which ones.

        Yields:
            Name and array.

        Raises:
            ValueError: if one cannot be read.
        """
        # It takes a second to import, and whoever looks at a folder may need none.
        import orbax.checkpoint as ocp

        for name in names:
            path, said = self._paths[name]
            struct = jax.ShapeDtypeStruct(said.shape, said.dtype)
            wanted = ocp.args.PyTreeRestore(
                item=_nest(path, struct),
                restore_args=_nest(path, ocp.RestoreArgs(restore_type=np.ndarray)),
                partial_restore=True,
            )
            found: Any = _of_orbax(
                self.path, lambda c, w=wanted: c.restore(self.path.resolve(), args=w)
            )
            for part in path:
                found = found[part]
            yield name, np.asarray(found)
            del found

    @property
    def bytes_on_disk(self) -> int:
        """The size of the folder's files together."""
        files = (file for file in self.path.rglob("*") if file.is_file())
        return sum(file.stat().st_size for file in files)


def _told(path: Path) -> Any:
    """The tree of what is said of each array."""
    step = _of_orbax(path, lambda c: c.metadata(path.resolve()))
    if step.item_metadata is None:
        raise ValueError(f"{path} is cut short or is no Orbax checkpoint")
    return step.item_metadata.tree


def _of_orbax(path: Path, ask: Any) -> Any:
    """What Orbax says; whatever is wrong with a folder raises errors of many kinds."""
    import orbax.checkpoint as ocp

    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            return ask(checkpointer)
    except Exception as error:  # TensorStore's own have no type
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} is cut short or is no Orbax checkpoint: {first}"
        ) from error


def _paths(tree: Any, below: str) -> dict[str, tuple[tuple[str, ...], Any]]:
    """Path and description of each array, by its name."""
    found = dict(_leaves(tree, ()))
    if all(len(path) > 1 and path[0] == below for path in found):
        named = {path[1:]: path for path in found}
    else:
        named = {path: path for path in found}
    if named and all(len(path) > 1 and path[-1] == _VALUE for path in named):
        named = {path[:-1]: whole for path, whole in named.items()}
    return {"/".join(path): (whole, found[whole]) for path, whole in named.items()}


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(tree, Mapping):
        yield path, tree
        return
    for name, inside in tree.items():
        yield from _leaves(inside, (*path, str(name)))


def _nest(path: tuple[str, ...], leaf: Any) -> Any:
    for name in reversed(path):
        leaf = {name: leaf}
    return leaf


def _dtype(dtype: Any) -> str:
    name = np.dtype(dtype).name
    return _DTYPES.get(name, name)
