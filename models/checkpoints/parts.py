"""A network among others in one checkpoint: whose tensors are whose, what is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

# What the names of DreamZero's networks begin with, in the files that hold all of them.
DREAMZERO = "action_head."


def prefix_of(
    names: Iterable[str], telling: str, prefixes: Iterable[str]
) -> str | None:
    """What the names of a network's tensors begin with.

    Args:
        names: of all tensors.
        telling: of one that no other network has, without prefix.
        prefixes: those that there are, the likeliest first.

    Returns:
        The prefix, or None if the network is not there.
    """
    known = set(names)
    return next((one for one in prefixes if one + telling in known), None)


def under(headers: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """A network's own tensors.

    Args:
        headers: of all tensors, by name.
        prefix: of the network's names.

    Returns:
        Those of its own, by their names without the prefix.
    """
    return {
        name.removeprefix(prefix): header
        for name, header in headers.items()
        if name.startswith(prefix)
    }


def passed_over(names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Beginnings of the names of DreamZero's other networks.

    Args:
        names: of all tensors.
        prefix: of the network's own.

    Returns:
        The beginnings, such as ``"action_head.model."``; none in a file of another
        kind, where nothing else should be.
    """
    if not prefix.startswith(DREAMZERO):
        return ()
    beginnings = {".".join(name.split(".")[:2]) + "." for name in names}
    return tuple(sorted(one for one in beginnings if not prefix.startswith(one)))


def has_others(names: Iterable[str], part: str) -> bool:
    """Whether there are networks of DreamZero beside the one of this name."""
    own = f"{DREAMZERO}{part}."
    return any(n.startswith(DREAMZERO) and not n.startswith(own) for n in names)


def options_beside(path: Path, part: str) -> Mapping[str, Any]:
    """What the ``config.json`` of a checkpoint says of a network.

    Args:
        path: the folder, or a file beside which it lies.
        part: the network's name in DreamZero, such as ``"text_encoder"``.

    Returns:
        The options: those of the part where the configuration is DreamZero's, otherwise
        all of them; empty without a configuration.

    Raises:
        ValueError: if it is no JSON.
    """
    file = path / "config.json" if path.is_dir() else path.with_name("config.json")
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(config, dict):
        return {}
    if "action_head_cfg" not in config:
        return config
    try:
        options = config["action_head_cfg"]["config"][f"{part}_cfg"]
    except (KeyError, TypeError):
        return {}
    return options if isinstance(options, dict) else {}


def layers_of(names: Iterable[str], before: str) -> int:
    """How many blocks there are, by the highest number behind a beginning of names."""
    numbers = [
        int(number)
        for name in names
        if name.startswith(before)
        and (number := name.removeprefix(before).split(".")[0]).isdigit()
    ]
    return max(numbers, default=-1) + 1
