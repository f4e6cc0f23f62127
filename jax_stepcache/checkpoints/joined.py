"""Several folders of safetensors as one, their tensors told apart by a prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from jax_stepcache.checkpoints.shards import Shards, TensorHeader


class JoinedShards(Shards):
    """The tensors of several `Shards`, as if they lay in one place.

    Attributes:
        path: what they have in common, for errors.
        headers: by the tensors' names with their prefix.
        promised: likewise.
    """

    def __init__(self, path: Path, parts: Mapping[str, Shards]):
        """Joins them; nothing is read.

        Args:
            path: the folder that they are in.
            parts: by what stands before their names, such as ``"transformer_2."``; no
                prefix is the beginning of another.
        """
        self.path = path
        self._parts = dict(parts)
        self.headers: dict[str, TensorHeader] = {
            prefix + name: header
            for prefix, shards in self._parts.items()
            for name, header in shards.headers.items()
        }
        self.promised = {
            prefix + name: file
            for prefix, shards in self._parts.items()
            for name, file in shards.promised.items()
        }

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """See `Shards.read`; one part after the other."""
        wanted = list(names)
        for prefix, shards in self._parts.items():
            ours = [n.removeprefix(prefix) for n in wanted if n.startswith(prefix)]
            for name, tensor in shards.read(ours):
                yield prefix + name, tensor
                del tensor
