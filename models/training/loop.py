"""The training loop: optimiser steps, checkpoints, and going on after a stop."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp

from jax_stepcache.loop.transfers import sent
from jax_stepcache.paths import as_path
from jax_stepcache.processes import (
    gathered,
    is_main,
    put,
    put_all,
)

from .checkpoints import finish_saves, restore_state, save_state
from .fully_sharded import FullySharded, check_together
from .settings import check_run, keep_settings, require_same
from .step import Loss, Soundness, TrainState, all_finite, init_state, train_step
from .stopped import stopped


def fit(
    folder: str | os.PathLike[str],
    trained: Any,
    *,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batch_at: Callable[[int], Any],
    settings: Any,
    origin: Mapping[str, Any] | None = None,
    frozen: Any = None,
    rows_of: Callable[[int, jax.Array], np.ndarray] | None = None,
    source: str = "the data",
    layout: FullySharded | None = None,
    resume: bool = False,
    stop_after: int | None = None,
    save_every: int = 500,
    log_every: int = 50,
) -> TrainState:
    """Trains, with checkpoints.

    What a step sees depends on its number and the seed alone, so a run that was
    interrupted and resumed gets the numbers of one that was not. At the first loss,
    gradient or weight that is not finite the run stops, and the weights before it are
    its newest checkpoint.

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
        rows_of: which rows of the data a step sees, in the order of its batch, given
            its number and its key: for the error of a run that stops. None where there
            are no rows to name.
        source: what the rows are of, likewise.
        layout: where the run lies on a mesh; another than the run was begun on is as
            good. None for one device.
        resume: continue from the newest checkpoint; without it, the folder must not
            hold any.
        stop_after: stop at this step, as an interruption would; None for the end.
        save_every: steps between checkpoints.
        log_every: steps between lines of the log.

    Returns:
        The state at the end.

    Raises:
        ValueError: for settings that cannot be; if the weights to begin from are not
            finite; if there are checkpoints and ``resume`` is False, or the other way
            round; or if they were made with other settings, or cannot be read.
        TrainingStopped: a FloatingPointError, at the first number that is not finite.
    """
    check_run(settings)
    check_together(layout)
    folder = as_path(folder, "folder")
    if not all_finite(trained):
        raise ValueError("the weights to begin from are not finite")
    last = settings.steps if stop_after is None else min(stop_after, settings.steps)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        newest = manager.latest_step()
        if (newest is not None) != resume:
            has = "no checkpoint" if newest is None else f"a checkpoint, step {newest}"
            hint = "leave out" if newest is None else "add"
            raise ValueError(f"{folder} has {has}; {hint} --resume")
        path, kept = folder / "settings.json", settings._asdict() | dict(origin or {})
        if newest is None:
            keep_settings(path, kept)
        else:
            require_same(path, kept)
        state = init_state(trained, optimizer, layout)
        if layout is not None:
            frozen = layout.laid_out(frozen)
        if newest is not None:
            state = restore_state(manager, newest, state)
        start = time.perf_counter()
        going: bool | jax.Array = True
        if layout is not None:
            # As it comes back: else the step would be compiled twice.
            going = put(True, layout.whole)
        before: _Taken | None = None
        for step in range(int(jax.device_get(state.step)), last):
            state, losses, sound = train_step(
                state,
                frozen,
                _given(batch_at(step), state, layout),
                _key_of(settings.seed, step),
                loss=loss,
                optimizer=optimizer,
                decay=settings.decay,
                accumulate=settings.accumulate,
                going=sent(going),
                layout=layout,
            )
            going, done = sound.going, step + 1
            taken = _Taken(step, losses, sound)
            logs = done % log_every == 0 or done == last
            saves = done % save_every == 0 or done == last
            # Of the step before, so that the device has work while the host waits; a
            # step after one that was not finite changes nothing.
            for one in [before, taken if logs or saves else None]:
                if one is not None and not jax.device_get(one.sound.going):
                    save_state(manager, one.step, state)
                    key = _key_of(settings.seed, one.step)
                    raise stopped(
                        one.step,
                        one.losses,
                        state,
                        rows=None if rows_of is None else rows_of(one.step, key),
                        sound=gathered(one.sound.parts),
                        source=source,
                        folder=folder,
                    )
            before = taken
            if logs:
                losses = jax.device_get(losses)
                _print_line(done, losses, time.perf_counter() - start)
            if saves:
                save_state(manager, done, state)
        finish_saves(manager)
    return state


def _given(batch: Any, state: TrainState, layout: FullySharded | None) -> Any:
    """A batch on its way to the devices; on a mesh each gets rows of its own."""
    if layout is None:
        return sent(batch, state)
    return put_all(batch, layout.rows)


def _print_line(step: int, losses: Mapping[str, Any], seconds: float) -> None:
    if is_main():
        shown = ", ".join(f"{k} {float(v):.4f}" for k, v in losses.items())
        print(f"step {step}: {shown}, {seconds:.0f} s", flush=True)


def _key_of(seed: int, step: int) -> jax.Array:
    """What a step draws with."""
    return _folded(seed + 1, sent(np.int32(step)))


@functools.partial(jax.jit, static_argnums=0)
def _folded(seed: int, step: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.key(seed), step)


class _Taken(NamedTuple):
    """A step that the device has been asked for."""

    step: int
    losses: dict[str, jax.Array]
    sound: Soundness
