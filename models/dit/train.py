"""Trains the bundled model on handwritten digits.

    python -m jax_stepcache.models.dit.train --out out/dit --report

What a step sees depends on its number and the seed, so a run that was interrupted and
resumed gets the numbers of one that was not. Checkpoints are Orbax's; at the end the
averaged weights are written as one safetensors file that `load_params` takes.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..training.command import command_line, run_command, run_parser, told
from ..training.export import export_run
from ..training.loop import fit
from ..training.optimizer import adamw_for_kernels
from ..training.settings import check_run
from ..training.step import TrainState
from ..training.stopped import TrainingStopped
from .model import DiTModel, config_of
from .network.parameters import init_weights
from .network.published import DIGITS
from .training.digits import Digits, check_digits, load_digits
from .training.loss import FlowMatching
from .training.quality import Quality, measure


class Settings(NamedTuple):
    """A training run; static.

    Attributes:
        steps: optimiser steps of the whole schedule.
        batch: pictures a step.
        learning_rate: AdamW's peak.
        warmup: steps of linear warm-up; then it falls as a cosine, to zero.
        weight_decay: of matrices.
        decay: of the averaged weights.
        dropout: share of pictures without their label, for guidance.
        accumulate: parts that a batch is split into.
        seed: of weights and data.
    """

    steps: int = 4500
    batch: int = 128
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.01
    decay: float = 0.999
    dropout: float = 0.1
    accumulate: int = 1
    seed: int = 0


def train(
    settings: Settings,
    model: DiTModel,
    digits: Digits,
    folder: str | os.PathLike[str],
    **options: Any,
) -> TrainState:
    """Trains, with checkpoints.

    Args:
        settings: the run.
        model: the model.
        digits: what it learns.
        folder: where checkpoints go.
        **options: see `training.loop.fit`.

    Returns:
        The state at the end.

    Raises:
        ValueError: for digits that do not fit the model or are not finite; and see
            `training.loop.fit`.
        TrainingStopped: see `training.loop.fit`.
    """
    check_run(settings)
    check_digits(digits, model)
    rows, count = settings.batch // settings.accumulate, len(digits.labels)
    objective = FlowMatching(model, rows, settings.dropout)

    def rows_of(step: int, key: jax.Array) -> np.ndarray:
        parts = settings.accumulate
        keys = [key] if parts == 1 else jax.random.split(key, parts)
        return np.concatenate([objective.drawn(one, count) for one in keys])

    fresh = jax.jit(init_weights, static_argnums=0)
    return fit(
        folder,
        fresh(model.config, jax.random.key(settings.seed)),
        loss=objective,
        optimizer=adamw_for_kernels(
            settings.learning_rate,
            settings.warmup,
            settings.steps,
            settings.weight_decay,
        ),
        batch_at=lambda step: None,
        settings=settings,
        frozen=jax.tree.map(jnp.asarray, digits),
        rows_of=rows_of,
        source="the digits",
        **options,
    )


def export(
    state: TrainState,
    settings: Settings,
    model: DiTModel,
    path: str | os.PathLike[str],
    command: str,
    *,
    quality: Quality | None = None,
) -> None:
    """Writes the averaged weights, and beside them how they were made.

    Args:
        state: the trained state.
        settings: the run.
        model: the model.
        path: the safetensors file; the account goes to the same name with ``.json``.
        command: the command line that made them.
        quality: what was measured of them.
    """
    export_run(
        path,
        state,
        model=model.name,
        config=config_of(model),
        command=command,
        settings=settings,
        quality=None if quality is None else quality._asdict(),
    )


def main() -> None:
    """Trains from the command line."""
    parser = run_parser("Train the digits' model.", Settings())
    parser.add_argument(
        "--report",
        action="store_true",
        help="measure at the end whether samples show the digit they should",
    )
    arguments = parser.parse_args()
    settings = told(arguments, Settings())
    model, digits = DiTModel(DIGITS), load_digits()
    command = command_line(__spec__.name)
    try:
        state = train(
            settings,
            model,
            digits,
            arguments.out / "checkpoints",
            resume=arguments.resume,
            stop_after=arguments.stop_after,
        )
    except TrainingStopped as stop:
        if stop.step:
            export(stop.state, settings, model, stop.weights_in(arguments.out), command)
        raise
    quality = None
    if arguments.report:
        quality = measure(state.averaged, model, digits)
        print(quality)
    path = arguments.out / "weights.safetensors"
    export(state, settings, model, path, command, quality=quality)


if __name__ == "__main__":
    sys.exit(run_command(main))
