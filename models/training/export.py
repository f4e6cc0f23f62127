"""What is left of a run: its weights, and the account of how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jax_stepcache.checkpoints.weights import save_weights

from .step import TrainState


def export_run(
    path: Path,
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


def write_json(path: Path, value: Any) -> None:
    """Writes JSON under a temporary name, then renames it.

    Args:
        path: the file.
        value: what JSON can say.
    """
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    temporary.replace(path)
