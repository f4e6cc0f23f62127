"""What is left of a run: its weights, and the account of how they were made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.weights import save_weights
from jax_stepcache.paths import as_path
from jax_stepcache.processes import by_main

from .step import TrainState


def export_run(
    path: str | os.PathLike[str],
    state: TrainState,
    *,
    model: str,
    config: Mapping[str, Any],
    command: str,
    settings: Any,
    **more: Any,
) -> None:
    """Writes the averaged weights, and beside them how they were made.

    Args:
        path: the safetensors file; the account goes to the same name with ``.json``.
        state: the trained state.
        model: the model's name.
        config: its configuration, JSON.
        command: the command line that made them.
        settings: the run's, a NamedTuple.
        **more: what else the account tells; JSON.
    """
    path = as_path(path)
    account = {
        "model": model,
        "config": config,
        "command": command,
        "settings": settings._asdict(),
        "steps_taken": int(state.step),
        **more,
    }
    metadata = {"model": model, "config": json.dumps(config)}
    save_weights(path, state.averaged, metadata)
    write_json(path.with_suffix(".json"), account)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes JSON under a temporary name, then renames it; the main process does.

    Args:
        path: the file.
        value: what JSON can say.
    """
    path = as_path(path)

    by_main(lambda: write_json_here(path, value))


def write_json_here(path: Path, value: Any) -> None:
    """`write_json` for who is the main process."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)
