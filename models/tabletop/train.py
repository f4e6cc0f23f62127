"""Trains the tabletop's model.

    python -m jax_stepcache.models.tabletop.train --out out/tabletop

Demonstrations are drawn on the fly from the step's number, so a run that was
interrupted and resumed gets the numbers of one that was not. Checkpoints are Orbax's;
at the end the averaged weights are written as one safetensors file that `load_params`
takes.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from jax_stepcache.weights import save_weights

from ..dreamzero import init_weights
from .episodes import draw_chunks
from .model import TabletopModel, config_of, instruction_embedding, tabletop_config


class Settings(NamedTuple):
    """A training run; static.

    Attributes:
        steps: optimiser steps of the whole schedule.
        batch: chunks a step.
        learning_rate: Muon's peak; Adam's, for vectors and embeddings, is a tenth.
        warmup: steps of linear warm-up.
        decay: of the averaged weights.
        dropout: share of chunks without an instruction, for guidance.
        shift: timestep shift of the noise levels.
        decoupled: share of chunks whose action has a noise level of its own.
        seed: of weights and data.
    """

    steps: int = 2600
    batch: int = 128
    learning_rate: float = 0.016
    warmup: int = 100
    decay: float = 0.998
    dropout: float = 0.1
    shift: float = 3.0
    decoupled: float = 0.1
    seed: int = 0


class TrainState(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        step: int32 scalar, steps taken.
        weights: the weights being trained.
        averaged: their exponential moving average, the ones to use.
        optimizer: the optimiser's state.
    """

    step: jax.Array
    weights: Any
    averaged: Any
    optimizer: Any


# Below this noise the sampler never asks: 16 steps at shift 5 end at sigma 0.249.
_WEIGHTED_FROM = 0.2


def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """Muon for the blocks' matrices, Adam for everything else, cosine to zero.

    Matrices of all blocks are stacked; each layer's is orthogonalised by itself.
    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".
    """
    rate = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, settings.warmup, settings.steps
    )

    def matrices(weights: Any) -> Any:
        def kind(path: Any, x: jax.Array) -> Any:
            names = [getattr(key, "key", None) for key in path]
            if "blocks" in names and names[-1] == "kernel":
                return optax.contrib.MuonDimensionNumbers(1, 2)
            return None

        return jax.tree_util.tree_map_with_path(kind, weights)

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.contrib.muon(
            rate,
            adam_learning_rate=lambda count: 0.1 * rate(count),
            muon_weight_dimension_numbers=matrices,
        ),
    )


def init_state(settings: Settings, model: TabletopModel) -> TrainState:
    """The state before the first step."""
    weights = init_weights(model.dit, jax.random.key(settings.seed))
    optimizer = make_optimizer(settings).init(weights)
    averaged = jax.tree.map(jnp.copy, weights)
    return TrainState(jnp.zeros((), jnp.int32), weights, averaged, optimizer)


def loss_of(
    weights: Any, key: jax.Array, settings: Settings, model: TabletopModel
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The flow-matching loss on a fresh batch.

    Args:
        weights: the weights.
        key: draws chunks, noise and noise levels.
        settings: the run.
        model: the model.

    Returns:
        The loss, a float32 scalar: the squared error of the velocity, video and action
        alike; and each of the two.
    """
    keys = jax.random.split(key, 6)
    batch = settings.batch
    # Behind a barrier, or XLA draws the pictures anew wherever a gradient needs them.
    chunk = jax.lax.optimization_barrier(draw_chunks(keys[0], batch))
    clean = model.encode(chunk.frames, chunk.actions)

    level = jax.random.uniform(keys[1], (2, batch))
    level = settings.shift * level / (1 + (settings.shift - 1) * level)
    apart = jax.random.uniform(keys[2], (batch,)) < settings.decoupled
    sigma = {"video": level[0], "action": jnp.where(apart, level[1], level[0])}

    # A CPU takes a third less time for the gradients of unrolled blocks.
    unrolled = replace(model, dit=replace(model.dit, unroll=model.dit.num_layers))
    told = jax.random.uniform(keys[3], (batch, 1, 1)) >= settings.dropout
    text = told * instruction_embedding(chunk.observation["instruction"])
    condition = unrolled.condition(weights, chunk.observation, text)

    noise = {
        name: jax.random.normal(k, clean[name].shape)
        for name, k in zip(model.outputs, keys[4:], strict=True)
    }
    noisy = {
        name: x + _rows(sigma[name], x) * (noise[name] - x) for name, x in clean.items()
    }
    t = {name: 1000 * s for name, s in sigma.items()}
    predicted = unrolled.predict_x0(weights, noisy, t, condition)
    losses = {
        name: jnp.mean(
            jnp.square(
                (predicted[name] - x)
                / jnp.maximum(_rows(sigma[name], x), _WEIGHTED_FROM)
            )
        )
        for name, x in clean.items()
    }
    return losses["video"] + losses["action"], losses


@functools.partial(jax.jit, static_argnums=(1, 2), donate_argnums=0)
def train_step(
    state: TrainState, settings: Settings, model: TabletopModel
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Takes one optimiser step; its data depend on seed and step alone.

    Returns:
        The new state, and the losses by output.
    """
    key = jax.random.fold_in(jax.random.key(settings.seed + 1), state.step)
    gradients, losses = jax.grad(loss_of, has_aux=True)(
        state.weights, key, settings, model
    )
    updates, optimizer = make_optimizer(settings).update(
        gradients, state.optimizer, state.weights
    )
    weights = optax.apply_updates(state.weights, updates)
    # Early on, an average over few steps: the first weights are noise.
    decay = jnp.minimum(settings.decay, (1 + state.step) / (10 + state.step))
    averaged = jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, state.averaged, weights
    )
    return TrainState(state.step + 1, weights, averaged, optimizer), losses


def train(
    settings: Settings,
    model: TabletopModel,
    folder: Path,
    *,
    resume: bool = False,
    stop_after: int | None = None,
    save_every: int = 500,
    log_every: int = 50,
) -> TrainState:
    """Trains, with checkpoints.

    Args:
        settings: the run.
        model: the model.
        folder: where checkpoints go.
        resume: continue from the newest checkpoint; without it, the folder must not
            hold any.
        stop_after: stop at this step, as an interruption would; None for the end.
        save_every: steps between checkpoints.
        log_every: steps between lines of the log.

    Returns:
        The state at the end.

    Raises:
        ValueError: if there are checkpoints and ``resume`` is False, or the other way
            round.
    """
    last = settings.steps if stop_after is None else min(stop_after, settings.steps)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(folder.absolute(), options=options) as manager:
        newest = manager.latest_step()
        if (newest is not None) != resume:
            has = "no checkpoint" if newest is None else f"a checkpoint, step {newest}"
            hint = "leave out" if newest is None else "add"
            raise ValueError(f"{folder} has {has}; {hint} --resume")
        state = init_state(settings, model)
        if newest is not None:
            template = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
            restored = manager.restore(newest, args=ocp.args.StandardRestore(template))
            # As fresh arrays: those that Orbax commits to a device would compile again.
            state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), restored)
        start = time.perf_counter()
        for step in range(int(state.step), last):
            state, losses = train_step(state, settings, model)
            done = step + 1
            if done % log_every == 0 or done == last:
                shown = ", ".join(f"{k} {float(v):.4f}" for k, v in losses.items())
                rate = time.perf_counter() - start
                print(f"step {done}: {shown}, {rate:.0f} s", flush=True)
            if done % save_every == 0 or done == last:
                manager.save(done, args=ocp.args.StandardSave(state))
        manager.wait_until_finished()
    return state


def export(
    state: TrainState,
    settings: Settings,
    model: TabletopModel,
    path: Path,
    command: str,
) -> None:
    """Writes the averaged weights, and beside them how they were made.

    Args:
        state: the trained state.
        settings: the run.
        model: the model.
        path: the safetensors file; the account goes to the same name with ``.json``.
        command: the command line that made them.
    """
    account = {
        "model": model.name,
        "config": config_of(model),
        "command": command,
        "settings": settings._asdict(),
        "steps_taken": int(state.step),
        "commit": _commit(),
    }
    metadata = {"model": model.name, "config": json.dumps(account["config"])}
    save_weights(path, state.averaged, metadata)
    path.with_suffix(".json").write_text(json.dumps(account, indent=2) + "\n")


def main() -> None:
    """Trains from the command line."""
    parser = argparse.ArgumentParser(description="Train the tabletop's model.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--batch", type=int, default=Settings().batch)
    parser.add_argument("--seed", type=int, default=Settings().seed)
    parser.add_argument("--resume", action="store_true", help="continue a run")
    parser.add_argument("--stop-after", type=int, help="stop at this step")
    arguments = parser.parse_args()
    settings = Settings(
        steps=arguments.steps, batch=arguments.batch, seed=arguments.seed
    )
    model = TabletopModel(tabletop_config())
    state = train(
        settings,
        model,
        arguments.out / "checkpoints",
        resume=arguments.resume,
        stop_after=arguments.stop_after,
    )
    command = shlex.join(["python", "-m", f"{__spec__.name}", *sys.argv[1:]])
    export(state, settings, model, arguments.out / "weights.safetensors", command)


def _rows(values: jax.Array, like: jax.Array) -> jax.Array:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def _commit() -> str:
    """The commit of the checkout, or "unknown" outside of one."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


if __name__ == "__main__":
    main()
