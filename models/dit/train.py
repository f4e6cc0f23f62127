"""Trains the bundled model on handwritten digits.

    python -m jax_stepcache.models.dit.train --out out/dit --report

What a step sees depends on its number and the seed, so a run that was interrupted and
resumed gets the numbers of one that was not. Checkpoints are Orbax's; at the end the
averaged weights are written as one safetensors file that `load_params` takes.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax_stepcache.checkpoints.weights import save_weights

from ..dreamzero.training.fit import TrainState, fit
from .configs import DIGITS
from .digits import Digits, load_digits
from .loss import FlowMatching
from .model import DiTModel, config_of
from .parameters import init_weights
from .quality import Quality, measure


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


@functools.cache
def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """AdamW with clipped gradients, a warm-up and a cosine to zero."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, settings.warmup, settings.steps
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, weight_decay=settings.weight_decay, mask=_matrices),
    )


def train(
    settings: Settings, model: DiTModel, digits: Digits, folder: Path, **options: Any
) -> TrainState:
    """Trains, with checkpoints.

    Args:
        settings: the run.
        model: the model.
        digits: what it learns.
        folder: where checkpoints go.
        **options: see `dreamzero.training.fit`.

    Returns:
        The state at the end.

    Raises:
        ValueError: see `dreamzero.training.fit`.
    """
    rows = settings.batch // settings.accumulate
    fresh = jax.jit(init_weights, static_argnums=0)
    return fit(
        folder,
        fresh(model.config, jax.random.key(settings.seed)),
        loss=FlowMatching(model, rows, settings.dropout),
        optimizer=make_optimizer(settings),
        batch_at=lambda step: None,
        settings=settings,
        frozen=jax.tree.map(jnp.asarray, digits),
        **options,
    )


def export(
    state: TrainState,
    settings: Settings,
    model: DiTModel,
    path: Path,
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
    account = {
        "model": model.name,
        "config": config_of(model),
        "command": command,
        "settings": settings._asdict(),
        "steps_taken": int(state.step),
        "quality": None if quality is None else quality._asdict(),
    }
    metadata = {"model": model.name, "config": json.dumps(account["config"])}
    save_weights(path, state.averaged, metadata)
    path.with_suffix(".json").write_text(json.dumps(account, indent=2) + "\n")


def main() -> None:
    """Trains from the command line."""
    default = Settings()
    parser = argparse.ArgumentParser(description="Train the digits' model.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--batch", type=int, default=default.batch)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate)
    parser.add_argument("--resume", action="store_true", help="continue a run")
    parser.add_argument("--stop-after", type=int, help="stop at this step")
    parser.add_argument(
        "--report",
        action="store_true",
        help="measure at the end whether samples show the digit they should",
    )
    arguments = parser.parse_args()
    settings = Settings(
        steps=arguments.steps,
        batch=arguments.batch,
        seed=arguments.seed,
        learning_rate=arguments.learning_rate,
    )
    model, digits = DiTModel(DIGITS), load_digits()
    state = train(
        settings,
        model,
        digits,
        arguments.out / "checkpoints",
        resume=arguments.resume,
        stop_after=arguments.stop_after,
    )
    quality = None
    if arguments.report:
        quality = measure(state.averaged, model, digits)
        print(quality)
    command = shlex.join(["python", "-m", f"{__spec__.name}", *sys.argv[1:]])
    path = arguments.out / "weights.safetensors"
    export(state, settings, model, path, command, quality=quality)


def _matrices(weights: Any) -> Any:
    """Which weights decay: biases, and the embedding of labels, do not."""
    return jax.tree_util.tree_map_with_path(
        lambda path, x: getattr(path[-1], "key", None) == "kernel", weights
    )


if __name__ == "__main__":
    main()
