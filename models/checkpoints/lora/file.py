"""A LoRA file: what it changes, as its header says, and the numbers when asked for."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jax_stepcache.checkpoints.shards import Shards, TensorHeader
from jax_stepcache.checkpoints.weights import load_metadata
from jax_stepcache.errors import unknown_name
from jax_stepcache.paths import as_path

from .keys import Key, of_component, read_key

COMPONENTS = ("transformer", "transformer_2")
"""Which transformer of a pipeline a file with both has something for."""

# The file of a folder that PEFT or diffusers wrote.
_IN_FOLDERS = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
_SETTINGS = "adapter_config.json"
_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class Change:
    """What a file has for one tensor, or for a layer with its bias.

    Attributes:
        parts: by kind (see `Key`), the name of the tensor in the file.
        headers: likewise, its shape and dtype.
    """

    parts: dict[str, str] = field(default_factory=dict)
    headers: dict[str, TensorHeader] = field(default_factory=dict)


class LoraFile:
    """A file, of which only the header has been read.

    Attributes:
        path: where it is.
        changes: by the name of what is changed.
    """

    def __init__(self, path: str | os.PathLike[str], component: str = COMPONENTS[0]):
        """Reads the header.

        Args:
            path: a safetensors file, or a folder as PEFT or diffusers write it.
            component: the transformer that changes are wanted for, where the file has
                some for each of a pipeline's two.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is no safetensors file, or a pickle; if it has no LoRA, or
                tensors of another kind; if half of a pair is missing; for an unknown
                component, or the first where all is of the second.
        """
        if component not in COMPONENTS:
            raise ValueError(unknown_name("component", component, COMPONENTS))
        self.path = _file(as_path(path))
        self._shards = Shards(self.path)
        keys = _keys(self._shards)
        ours = of_component(keys.values(), component)
        if keys and not any(ours):
            raise ValueError(
                f"{self.path} changes {COMPONENTS[1]} alone, the low-noise expert; "
                f"asked for is {component}"
            )
        self.changes: dict[str, Change] = {}
        for (name, key), wanted in zip(keys.items(), ours, strict=True):
            if wanted:
                change = self.changes.setdefault(key.target, Change())
                change.parts[key.kind] = name
                change.headers[key.kind] = self._shards.headers[name]
        for target, change in self.changes.items():
            _check_pair(self.path, target, change)
        # An alpha of nothing changes nothing.
        self.changes = {
            target: change
            for target, change in self.changes.items()
            if change.parts.keys() != {"alpha"}
        }
        if not self.changes:
            raise ValueError(f"{self.path} has no LoRA in it")
        self._settings = _settings(self.path, component)

    def read(self, target: str) -> dict[str, np.ndarray]:
        """Reads the numbers of one change.

        Args:
            target: a name in `changes`.

        Returns:
            Arrays by kind, as they are in the file.

        Raises:
            ValueError: if a number is not finite.
        """
        parts = self.changes[target].parts
        read = dict(self._shards.read(parts.values()))
        for name, x in read.items():
            if not np.isfinite(x).all():
                raise ValueError(f"{self.path}: not finite: {name}")
        return {kind: read[name] for kind, name in parts.items()}

    def factor(self, target: str, numbers: Mapping[str, np.ndarray]) -> float:
        """What the product of the two factors is multiplied by: alpha over the rank.

        Alpha stands beside the factors, as kohya and ComfyUI write it, or in the
        settings that PEFT and diffusers write; without one it is the rank.

        Args:
            target: the name of what is changed.
            numbers: as from `read`.

        Returns:
            The factor.
        """
        rank = numbers["down"].shape[0]
        if "alpha" in numbers:
            return float(np.asarray(numbers["alpha"], np.float32).reshape(())) / rank
        said = self._settings
        alpha = _of_pattern(said.get("alpha_pattern"), target, said.get("lora_alpha"))
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)


def _file(path: Path) -> Path:
    """The file itself, of a folder the one in it."""
    if not path.is_dir():
        return path
    found = next((path / n for n in _IN_FOLDERS if (path / n).is_file()), None)
    if found is None:
        raise FileNotFoundError(f"{path} has none of {', '.join(_IN_FOLDERS)}")
    return found


def _keys(shards: Shards) -> dict[str, Key]:
    """What all keys of a file say."""
    keys: dict[str, Key] = {}
    unknown = []
    try:
        for name in shards.headers:
            key = read_key(name)
            if key is None:
                unknown.append(name)
            else:
                keys[name] = key
    except ValueError as error:
        raise ValueError(f"{shards.path}: {error}") from error
    if unknown:
        raise ValueError(
            f"{shards.path} is no LoRA of a known layout: {len(unknown)} of its "
            f"{len(shards.headers)} tensors are none, such as "
            f"{', '.join(sorted(unknown)[:4])}"
        )
    return keys


def _check_pair(path: Path, target: str, change: Change) -> None:
    """Checks that factors come in twos, and with one rank."""
    kinds = change.headers.keys() & {"down", "up"}
    if len(kinds) == 1:
        have = kinds.pop()
        raise ValueError(f"{path}: {target} has a factor {have!r} and not the other")
    if not kinds:
        return
    down, up = change.headers["down"].shape, change.headers["up"].shape
    if len(down) < 2 or len(up) < 2 or down[0] != up[1] or not down[0]:
        raise ValueError(
            f"{path}: the factors of {target} have shapes {down} and {up}, which have "
            "no rank in common"
        )


def _settings(path: Path, component: str) -> Mapping[str, Any]:
    """What PEFT or diffusers wrote of it, in the header or beside the file."""
    beside = path.with_name(_SETTINGS)
    text = load_metadata(path).get(_METADATA)
    if text is None:
        if path.name != _IN_FOLDERS[0] or not beside.is_file():
            return {}
        text = beside.read_text(encoding="utf-8")
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: its settings are not JSON: {error}") from error
    if not isinstance(said, dict):
        return {}
    prefix = f"{component}."
    own = {k.removeprefix(prefix): v for k, v in said.items() if k.startswith(prefix)}
    return own or said


def _of_pattern(pattern: Any, target: str, otherwise: Any) -> float | None:
    """A number that some targets have of their own, by the ends of their names."""
    for name, value in (pattern or {}).items():
        if target == name or target.endswith(f".{name}"):
            return float(value)
    return None if otherwise is None else float(otherwise)
