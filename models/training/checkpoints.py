"""A run's checkpoints: Orbax's, with checksums of their files beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from jax_stepcache.checkpoints.checksums import checksums, require_intact
from jax_stepcache.meshes.beside import all_over_the_mesh
from jax_stepcache.processes import by_main

from .export import write_json_here
from .step import TrainState, all_finite

_RECORD = "checksums.json"


def save_state(manager: ocp.CheckpointManager, step: int, state: TrainState) -> None:
    """Begins to write a checkpoint; `finish_saves` waits for it.

    Args:
        manager: of the run's folder.
        step: steps taken; a checkpoint that is there stays, and 0 needs none.
        state: the state then.
    """
    finish_saves(manager)
    if step and step not in manager.all_steps():
        manager.save(step, args=ocp.args.StandardSave(state))


def finish_saves(manager: ocp.CheckpointManager) -> None:
    """Waits for checkpoints to be whole, and writes the checksums of their files."""
    manager.wait_until_finished()
    by_main(lambda: _note_checksums(manager))


def _note_checksums(manager: ocp.CheckpointManager) -> None:
    folder = Path(manager.directory)
    record = folder / _RECORD
    known = _recorded(record) or {}
    steps = [str(step) for step in manager.all_steps()]
    if set(steps) != set(known):
        found = {step: known.get(step) or checksums(folder / step) for step in steps}
        write_json_here(record, found)


def restore_state(
    manager: ocp.CheckpointManager, step: int, like: TrainState
) -> TrainState:
    """Reads a checkpoint.

    Args:
        manager: of the run's folder.
        step: the checkpoint's.
        like: a state of the same shapes; on a mesh, of the same shardings, whatever
            devices the checkpoint was written from.

    Returns:
        The state.

    Raises:
        ValueError: if files are damaged, of another model, or not finite.
    """
    folder = Path(manager.directory)
    older = [other for other in manager.all_steps() if other < step]
    way_out = (
        f"remove {folder / str(step)} to go on from step {max(older)}"
        if older
        else "begin anew, in another folder"
    )
    record = folder / _RECORD
    try:
        known = _recorded(record)
        # A run that was killed may have its newest checkpoint without checksums.
        if known is not None and str(step) in known:
            require_intact(folder / str(step), known[str(step)], record)
        template = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored: Any = manager.restore(step, args=ocp.args.StandardRestore(template))
        if not all_finite(restored):
            raise ValueError("it has numbers that are not finite")
    except Exception as error:  # Orbax's and TensorStore's are of many kinds
        first = str(error) if isinstance(error, ValueError) else _first_line(error)
        raise ValueError(
            f"the checkpoint {folder / str(step)} cannot be used: {first}; {way_out}"
        ) from error
    if all_over_the_mesh(like) is not None:
        return restored
    # As fresh arrays: those that Orbax commits to a device would compile again.
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), restored)


def _recorded(path: Path) -> dict[str, Any] | None:
    """Checksums by step; None where there are none yet."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is cut short or is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} has {found!r:.80}; it needs checksums by step")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
