"""Trains Meta-World's model on demonstrations.

    python -m jax_stepcache.models.metaworld.train --data out/demos --out out/metaworld

Which sequences a step sees depends on its number and the seed, so a run that was
interrupted and resumed gets the numbers of one that was not. Checkpoints are Orbax's;
at the end the averaged weights are written as one safetensors file that `load_params`
takes.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_stepcache.network.registry import load_params
from jax_stepcache.paths import path_option

from ..dreamzero import init_weights
from ..dreamzero.training import Chunks
from ..dreamzero.training.sequences import open_sequences
from ..training.command import (
    command_line,
    commit_of,
    run_command,
    run_parser,
    told,
)
from ..training.export import export_run
from ..training.loader import Loader, Order
from ..training.loop import fit
from ..training.optimizer import muon_for_blocks
from ..training.settings import check_run
from ..training.step import TrainState
from ..training.stopped import TrainingStopped
from ..worlds.configuration import config_of
from ..worlds.loss import flow_matching
from .model import MetaworldModel, metaworld_config


class Settings(NamedTuple):
    """A training run; static.

    Attributes:
        steps: optimiser steps of the whole schedule.
        batch: sequences a step.
        learning_rate: Muon's peak; Adam's, for vectors and embeddings, is a tenth.
        warmup: steps of linear warm-up.
        decay: of the averaged weights.
        dropout: share of sequences without a task's name, for guidance.
        shift: timestep shift of the noise levels.
        decoupled: share of sequences whose actions have noise levels of their own.
        accumulate: parts that a batch is split into.
        seed: of weights, order and noise.
    """

    steps: int = 4000
    batch: int = 16
    learning_rate: float = 0.01
    warmup: int = 100
    decay: float = 0.998
    dropout: float = 0.1
    shift: float = 3.0
    decoupled: float = 0.1
    accumulate: int = 1
    seed: int = 0


@dataclass(frozen=True)
class DemonstrationLoss:
    """The flow-matching loss on demonstrations. Static.

    Attributes:
        model: the model.
        settings: the run.
    """

    model: MetaworldModel
    settings: Settings

    def __call__(
        self, weights: Any, frozen: None, batch: Chunks, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """See `training.step.Loss`."""
        del frozen
        objective = flow_matching(
            self.model,
            shift=self.settings.shift,
            decoupled=self.settings.decoupled,
            dropout=self.settings.dropout,
        )
        return objective(weights, batch, key)


def train(
    settings: Settings,
    model: MetaworldModel,
    data: Any,
    folder: str | os.PathLike[str],
    *,
    init: Any = None,
    **options: Any,
) -> TrainState:
    """Trains, with checkpoints.

    Args:
        settings: the run.
        model: the model.
        data: see `dreamzero.training.finetune`.
        folder: where checkpoints go.
        init: weights to begin from; None for fresh ones.
        **options: see `training.loop.fit`.

    Returns:
        The state at the end.

    Raises:
        FileNotFoundError: if there are no data.
        ValueError: for data that do not fit; see `training.loop.fit`.
        TrainingStopped: see `training.loop.fit`.
    """
    check_run(settings)
    sequences = open_sequences(data, model)
    count = len(sequences.rows)
    if settings.batch > count:
        raise ValueError(
            f"batch is {settings.batch}; {sequences.name} has {count} sequences"
        )
    order = Order(count, settings.batch, settings.seed)
    loader = Loader(sequences.rows, order, settings.steps)
    if init is None:
        weights, mark = init_weights(model.dit, jax.random.key(settings.seed)), None
    else:
        weights = jax.tree.map(jnp.array, init)
        mark = float(optax.tree.norm(weights))
    origin = {"sequences": count, "data": sequences.marks, "init": mark}
    try:
        return fit(
            folder,
            weights,
            loss=DemonstrationLoss(model, settings),
            optimizer=muon_for_blocks(
                settings.learning_rate, settings.warmup, settings.steps
            ),
            batch_at=loader.batch_at,
            settings=settings,
            origin=origin,
            rows_of=lambda step, key: order.rows(step),
            source=sequences.name,
            **options,
        )
    finally:
        loader.close()


def main() -> None:
    """Trains from the command line."""
    parser = run_parser("Train Meta-World's model.", Settings())
    parser.add_argument(
        "--data", type=path_option, required=True, help="folder of the demonstrations"
    )
    parser.add_argument("--init", type=path_option, help="weights file to begin from")
    arguments = parser.parse_args()
    settings = told(arguments, Settings())
    model = MetaworldModel(metaworld_config())
    weights = None
    if arguments.init is not None:
        begun = load_params(arguments.init, layers="stacked")
        if begun.model != model:
            raise ValueError(
                f"{arguments.init} holds {begun.model}; trained is {model}"
            )
        weights = begun.weights
    account = {
        "model": model.name,
        "config": config_of(model),
        "command": command_line(__spec__.name),
        "settings": settings,
        "commit": commit_of(__file__),
    }
    try:
        state = train(
            settings,
            model,
            arguments.data,
            arguments.out / "checkpoints",
            init=weights,
            resume=arguments.resume,
            stop_after=arguments.stop_after,
            save_every=100,
            log_every=20,
        )
    except TrainingStopped as stop:
        if stop.step:
            export_run(stop.weights_in(arguments.out), stop.state, **account)
        raise
    export_run(arguments.out / "weights.safetensors", state, **account)


if __name__ == "__main__":
    sys.exit(run_command(main))
