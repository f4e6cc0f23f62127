"""The training loop: optimiser steps, checkpoints, and going on after a stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from .export import write_json
from .step import Loss, TrainState, init_state, train_step


def fit(
    folder: Path,
    trained: Any,
    *,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batch_at: Callable[[int], Any],
    settings: Any,
    origin: Mapping[str, Any] | None = None,
    frozen: Any = None,
    resume: bool = False,
    stop_after: int | None = None,
    save_every: int = 500,
    log_every: int = 50,
) -> TrainState:
    """Trains, with checkpoints.

    What a step sees depends on its number and the seed alone, so a run that was
    interrupted and resumed gets the numbers of one that was not.

    Args:
        folder: where checkpoints go.
        trained: the weights to begin from.
        loss: see `Loss`.
        optimizer: the optimiser; the same object at each call, which compiles once.
        batch_at: gives the batch of a step.
        settings: a NamedTuple of numbers with ``steps``, ``seed``, ``decay`` and
            ``accumulate``; kept beside the checkpoints, and what a resumed run must
            have again.
        origin: more that a resumed run must have again, such as what marks the data.
        frozen: what the loss needs besides.
        resume: continue from the newest checkpoint; without it, the folder must not
            hold any.
        stop_after: stop at this step, as an interruption would; None for the end.
        save_every: steps between checkpoints.
        log_every: steps between lines of the log.

    Returns:
        The state at the end.

    Raises:
        ValueError: if there are checkpoints and ``resume`` is False, or the other way
            round, or if they were made with other settings.
    """
    last = settings.steps if stop_after is None else min(stop_after, settings.steps)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        newest = manager.latest_step()
        if (newest is not None) != resume:
            has = "no checkpoint" if newest is None else f"a checkpoint, step {newest}"
            hint = "leave out" if newest is None else "add"
            raise ValueError(f"{folder} has {has}; {hint} --resume")
        _same_settings(
            folder / "settings.json", settings._asdict() | dict(origin or {}), resume
        )
        state = init_state(trained, optimizer)
        if newest is not None:
            template = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
            restored = manager.restore(newest, args=ocp.args.StandardRestore(template))
            # As fresh arrays: those that Orbax commits to a device would compile again.
            state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), restored)
        start = time.perf_counter()
        for step in range(int(state.step), last):
            state, losses = train_step(
                state,
                frozen,
                batch_at(step),
                jax.random.fold_in(jax.random.key(settings.seed + 1), step),
                loss=loss,
                optimizer=optimizer,
                decay=settings.decay,
                accumulate=settings.accumulate,
            )
            done = step + 1
            if done % log_every == 0 or done == last:
                shown = ", ".join(f"{k} {float(v):.4f}" for k, v in losses.items())
                rate = time.perf_counter() - start
                print(f"step {done}: {shown}, {rate:.0f} s", flush=True)
            if done % save_every == 0 or done == last:
                manager.save(done, args=ocp.args.StandardSave(state))
        manager.wait_until_finished()
    return state


def _same_settings(path: Path, settings: Mapping[str, Any], resume: bool) -> None:
    """Keeps the settings of a new run, and compares those of a resumed one."""
    given = json.loads(json.dumps(settings))
    if not resume:
        write_json(path, given)
        return
    kept = json.loads(path.read_text()) if path.exists() else given
    changed = [
        f"{name} was {kept.get(name)!r} and is {value!r}"
        for name, value in given.items()
        if kept.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{path.parent} was trained with other settings: {'; '.join(changed)}"
        )
