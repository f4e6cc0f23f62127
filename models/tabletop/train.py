"""Trains the tabletop's model.

    python -m jax_stepcache.models.tabletop.train --out out/tabletop

Demonstrations are drawn on the fly from the step's number, so a run that was
interrupted and resumed gets the numbers of one that was not. Checkpoints are Orbax's;
at the end the averaged weights are written as one safetensors file that `load_params`
takes.
"""

from __future__ import annotations

import json
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
from ..training.command import (
    command_line,
    commit_of,
    run_command,
    run_parser,
    told,
)
from ..training.export import export_run
from ..training.loop import fit
from ..training.optimizer import muon_for_blocks
from ..training.settings import check_run
from ..training.step import TrainState
from ..training.stopped import TrainingStopped
from ..worlds.configuration import config_of
from ..worlds.loss import flow_matching
from . import latent
from .episodes import demonstrate
from .model import (
    TabletopModel,
    instruction_embedding,
    normalised_state,
    tabletop_config,
)
from .world import MAX_STEP


class Settings(NamedTuple):
    """A training run; static.

    Attributes:
        steps: optimiser steps of the whole schedule.
        batch: demonstrations a step.
        blocks: chunks of each demonstration, seen one after the other as in a session.
        learning_rate: Muon's peak; Adam's, for vectors and embeddings, is a tenth.
        warmup: steps of linear warm-up.
        decay: of the averaged weights.
        dropout: share of demonstrations without an instruction, for guidance.
        shift: timestep shift of the noise levels.
        decoupled: share of demonstrations whose actions have noise levels of their own.
        accumulate: parts that a batch is split into.
        seed: of weights and data.
    """

    steps: int = 2600
    batch: int = 128
    blocks: int = 1
    learning_rate: float = 0.016
    warmup: int = 100
    decay: float = 0.998
    dropout: float = 0.1
    shift: float = 3.0
    decoupled: float = 0.1
    accumulate: int = 1
    seed: int = 0


def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """See `muon_for_blocks`."""
    return muon_for_blocks(settings.learning_rate, settings.warmup, settings.steps)


@dataclass(frozen=True)
class DemonstrationLoss:
    """The flow-matching loss on demonstrations drawn from the key. Static.

    Attributes:
        model: the model.
        settings: the run.
    """

    model: TabletopModel
    settings: Settings

    def __call__(
        self, weights: Any, frozen: None, batch: None, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """See `dreamzero.training.fit.Loss`."""
        del frozen, batch
        settings = self.settings
        data, noise = jax.random.split(key)
        rows = settings.batch // settings.accumulate
        # Behind a barrier, or XLA draws the pictures anew wherever a gradient needs
        # them.
        chunks = jax.lax.optimization_barrier(draw_chunks(data, rows, settings.blocks))
        objective = flow_matching(
            self.model,
            shift=settings.shift,
            decoupled=settings.decoupled,
            dropout=settings.dropout,
        )
        return objective(weights, chunks, noise)


def draw_chunks(key: jax.Array, batch: int, blocks: int) -> Chunks:
    """Draws demonstrations as the training forward takes them."""
    shown = demonstrate(key, batch, blocks)
    frames = jnp.concatenate([shown.observation["image"][:, None], shown.frames], 1)
    return Chunks(
        video=latent.encode(frames),
        action=shown.actions / MAX_STEP,
        state=normalised_state(shown.states),
        text=instruction_embedding(shown.observation["instruction"]),
    )


def train(
    settings: Settings,
    model: TabletopModel,
    folder: str | os.PathLike[str],
    *,
    init: Any = None,
    **options: Any,
) -> TrainState:
    """Trains, with checkpoints.

    Args:
        settings: the run.
        model: the model.
        folder: where checkpoints go.
        init: weights to begin from; None for fresh ones.
        **options: see `training.loop.fit`.

    Returns:
        The state at the end.

    Raises:
        ValueError: see `training.loop.fit`.
        TrainingStopped: see `training.loop.fit`.
    """
    check_run(settings)
    if init is None:
        weights = init_weights(model.dit, jax.random.key(settings.seed))
    else:
        weights = jax.tree.map(jnp.array, init)
    return fit(
        folder,
        weights,
        loss=DemonstrationLoss(model, settings),
        optimizer=make_optimizer(settings),
        batch_at=lambda step: None,
        settings=settings,
        origin={"init": None if init is None else float(optax.tree.norm(weights))},
        **options,
    )


def export(
    state: TrainState,
    settings: Settings,
    model: TabletopModel,
    path: str | os.PathLike[str],
    command: str,
    *,
    commit: str = "unknown",
    init: dict[str, Any] | None = None,
) -> None:
    """Writes the averaged weights, and beside them how they were made.

    Args:
        state: the trained state.
        settings: the run.
        model: the model.
        path: the safetensors file; the account goes to the same name with ``.json``.
        command: the command line that made them.
        commit: of the code that ran.
        init: the account of the weights that the run began from.
    """
    export_run(
        path,
        state,
        model=model.name,
        config=config_of(model),
        command=command,
        settings=settings,
        commit=commit,
        init=init,
    )


def main() -> None:
    """Trains from the command line."""
    parser = run_parser("Train the tabletop's model.", Settings())
    parser.add_argument(
        "--blocks", type=int, default=Settings().blocks, help="chunks a demonstration"
    )
    parser.add_argument("--init", type=path_option, help="weights file to begin from")
    arguments = parser.parse_args()
    settings = told(arguments, Settings())
    weights, init, commit = None, None, commit_of(__file__)
    model = TabletopModel(tabletop_config())
    if arguments.init is not None:
        begun = load_params(arguments.init, layers="stacked")
        if begun.model != model:
            raise ValueError(f"{arguments.init} has other sizes than the tabletop's")
        weights = begun.weights
        account = arguments.init.with_suffix(".json")
        init = json.loads(account.read_text()) if account.exists() else None
    command = command_line(__spec__.name)
    try:
        state = train(
            settings,
            model,
            arguments.out / "checkpoints",
            init=weights,
            resume=arguments.resume,
            stop_after=arguments.stop_after,
        )
    except TrainingStopped as stop:
        path = stop.weights_in(arguments.out)
        if stop.step:
            export(stop.state, settings, model, path, command, commit=commit, init=init)
        raise
    path = arguments.out / "weights.safetensors"
    export(state, settings, model, path, command, commit=commit, init=init)


if __name__ == "__main__":
    sys.exit(run_command(main))
