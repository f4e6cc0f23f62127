"""Trains the bundled model on films of moving shapes.

    python -m jax_stepcache.models.film.train --out out/film --report

What a step sees depends on its number and the seed, so a run that was interrupted and
resumed gets the numbers of one that was not. Checkpoints are Orbax's; at the end the
averaged weights are written as one safetensors file that `load_params` takes.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

import jax

from jax_stepcache.network.registry import load_params
from jax_stepcache.paths import path_option

from ..training.command import command_line, run_command, run_parser, told
from ..training.export import export_run
from ..training.loop import fit
from ..training.optimizer import adamw_for_kernels
from ..training.settings import check_run
from ..training.step import TrainState
from ..training.stopped import TrainingStopped
from ..wan.configuration import config_of
from ..wan.network.parameters import init_weights
from .loss import FlowMatching
from .model import FILM, FilmModel
from .quality import Quality, asked_in_turn, judge, sampled


class Settings(NamedTuple):
    """A training run; static.

    Attributes:
        steps: optimiser steps of the whole schedule.
        batch: films a step.
        learning_rate: AdamW's peak.
        warmup: steps of linear warm-up; then it falls as a cosine, to zero.
        weight_decay: of matrices.
        decay: of the averaged weights.
        dropout: share of films of which nothing is said, for guidance.
        accumulate: parts that a batch is split into.
        seed: of weights and films.
    """

    steps: int = 6000
    batch: int = 16
    learning_rate: float = 3e-3
    warmup: int = 60
    weight_decay: float = 0.01
    decay: float = 0.998
    dropout: float = 0.1
    accumulate: int = 1
    seed: int = 0


def train(
    settings: Settings,
    model: FilmModel,
    folder: str | os.PathLike[str],
    *,
    start: Any = None,
    **options: Any,
) -> TrainState:
    """Trains, with checkpoints.

    Args:
        settings: the run.
        model: the model.
        folder: where checkpoints go.
        start: weights to begin from; fresh ones unless given.
        **options: see `training.loop.fit`.

    Returns:
        The state at the end.

    Raises:
        ValueError: see `training.loop.fit`.
        TrainingStopped: see `training.loop.fit`.
    """
    check_run(settings)
    rows = settings.batch // settings.accumulate
    if start is None:
        fresh = jax.jit(init_weights, static_argnums=0)
        start = fresh(model.transformer, jax.random.key(settings.seed))
    return fit(
        folder,
        start,
        loss=FlowMatching(model, rows, settings.dropout),
        optimizer=adamw_for_kernels(
            settings.learning_rate,
            settings.warmup,
            settings.steps,
            settings.weight_decay,
        ),
        batch_at=lambda step: None,
        settings=settings,
        **options,
    )


def export(
    state: TrainState,
    settings: Settings,
    model: FilmModel,
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
    parser = run_parser("Train the film's model.", Settings())
    parser.add_argument("--init", type=path_option, help="weights to begin from")
    parser.add_argument(
        "--report",
        action="store_true",
        help="measure at the end whether films show what they should",
    )
    arguments = parser.parse_args()
    settings, model = told(arguments, Settings()), FILM
    command = command_line(__spec__.name)
    start = None if arguments.init is None else load_params(arguments.init).weights
    try:
        state = train(
            settings,
            model,
            arguments.out / "checkpoints",
            start=start,
            resume=arguments.resume,
            stop_after=arguments.stop_after,
            save_every=250,
        )
    except TrainingStopped as stop:
        if stop.step:
            export(stop.state, settings, model, stop.weights_in(arguments.out), command)
        raise
    quality = None
    if arguments.report:
        asked = asked_in_turn(160)
        quality = judge(sampled(state.averaged, model, asked, seed=1), asked)
        print(quality)
    path = arguments.out / "weights.safetensors"
    export(state, settings, model, path, command, quality=quality)


if __name__ == "__main__":
    sys.exit(run_command(main))
