"""Fine-tuning on a user's own sequences, in full or by LoRA."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from jax_stepcache.checkpoints.layers import layers_together
from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path

from ...training.fully_sharded import FullySharded, fully_sharded
from ...training.loader import Loader, Order, Rows
from ...training.loop import fit
from ...training.optimizer import clipped_adamw, warmup_cosine
from ...training.settings import check_run
from ...training.step import Loss, TrainState, all_finite
from ...training.stopped import TrainingStopped
from ..model import DreamZeroModel
from .chunks import Chunks
from .lora import adapted_weights, init_lora, merge_lora
from .loss import FlowMatching
from .noise import training_noise
from .sequences import open_sequences


class FinetuneSettings(NamedTuple):
    """A fine-tuning run; static.

    Attributes:
        steps: optimiser steps.
        batch: sequences a step.
        accumulate: parts that a batch is split into; memory is that of one part.
        lora: rank of the adapters; 0 trains all weights.
        alpha: the adapters' scale, times their rank.
        learning_rate: AdamW's peak.
        warmup: share of the steps in which the rate rises linearly; it then falls to
            zero along a cosine.
        weight_decay: AdamW's.
        decay: of the averaged weights.
        dropout: share of sequences without a prompt, for guidance.
        shift: timestep shift of the noise levels.
        decoupled: share of sequences whose actions have noise levels of their own.
        seed: of order, noise and adapters.
    """

    steps: int = 1000
    batch: int = 8
    accumulate: int = 1
    lora: int = 4
    alpha: float = 4.0
    learning_rate: float = 1e-4
    warmup: float = 0.05
    weight_decay: float = 1e-5
    decay: float = 0.99
    dropout: float = 0.0
    shift: float = 5.0
    decoupled: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class _Loss:
    """The flow-matching loss of what is trained, given what is frozen. Static."""

    objective: FlowMatching
    alpha: float | None

    def __call__(
        self, trained: Any, frozen: Any, batch: Chunks, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        weights = trained
        if self.alpha is not None:
            weights = adapted_weights(frozen, trained, self.alpha)
        return self.objective(weights, batch, key)


def finetune(
    params: Params,
    data: str | os.PathLike[str] | Rows,
    out: str | os.PathLike[str],
    settings: FinetuneSettings | None = None,
    *,
    mesh: Mesh | None = None,
    resume: bool = False,
    stop_after: int | None = None,
    save_every: int = 100,
    log_every: int = 10,
) -> Params:
    """Fine-tunes a model.

    Args:
        params: the model to begin from.
        data: folder of sequences, see `load_chunks`; or sequences of your own, with
            ``len(data)`` and ``data[i]``, such as a `grain.MapDataset` or a source of
            `grain.sources`: each is a mapping with the fields of `Chunks`, without the
            axis of sequences. Several processes all read the same.
        out: folder of the run; checkpoints go to ``checkpoints`` in it.
        settings: the run's; None for the defaults.
        mesh: devices to train on together, with axes ``data`` and ``fsdp``, one of
            them or both. Weights, averages and moments are split over ``fsdp`` (over
            ``data`` where that is the only axis), rows of the batch over all; None for
            one device. The numbers are those of one device up to rounding.
        resume: continue from the newest checkpoint in ``out``; also on another mesh
            than it was written from.
        stop_after: stop at this step, as an interruption would.
        save_every: steps between checkpoints.
        log_every: steps between lines of the log.

    Returns:
        The averaged weights, adapters merged in, with their model.

    Raises:
        FileNotFoundError: if there is no data.
        ValueError: for data that do not fit the model or are not finite, by file and
            row, and settings that do not fit the data; before anything is compiled.
        TypeError: if the params are of another kind of model.
        TrainingStopped: a FloatingPointError, at the first loss, gradient or weight
            that is not finite; its ``params`` are the last good ones, and so is the
            newest checkpoint.
    """
    settings = FinetuneSettings() if settings is None else settings
    _check(settings)
    layout = fully_sharded(mesh, settings.batch // settings.accumulate)
    model = params.model
    if not isinstance(model, DreamZeroModel):
        raise TypeError(f"{model.name} is no DreamZero; give params of one")
    out = as_path(out, "out")
    sequences = open_sequences(data, model)
    count = len(sequences.rows)
    if settings.batch > count:
        raise ValueError(
            f"batch is {settings.batch}; {sequences.name} has {count} sequences"
        )
    order = Order(count, settings.batch, settings.seed)
    # Told all that could be wrong, weights are laid out: that may take a while.
    weights = layers_together(params.weights)
    params = Params(weights if layout is None else layout.laid_out(weights), model)
    loader = Loader(
        sequences.rows, order, settings.steps, None if layout is None else layout.rows
    )
    loss, optimizer = step_of(model, settings, layout)
    if settings.lora:
        key = jax.random.key(settings.seed)
        trained = init_lora(params.weights, settings.lora, key)
        frozen, alpha = params.weights, settings.alpha
    else:
        # A copy: the optimiser's step takes over the buffers it is given.
        trained = jax.tree.map(lambda x: jnp.array(x, jnp.float32), params.weights)
        frozen, alpha = None, None

    def made_of(state: TrainState) -> Params:
        merged = _merged(state.averaged, frozen, alpha)
        weights = jax.tree.map(
            lambda x, old: x.astype(old.dtype), merged, params.weights
        )
        return Params(weights, params.model)

    if not all_finite(params.weights):
        raise ValueError("params have weights that are not finite; load others")
    try:
        state = fit(
            out / "checkpoints",
            trained,
            loss=loss,
            optimizer=optimizer,
            batch_at=loader.batch_at,
            settings=settings,
            origin={
                "sequences": count,
                "weights_bits": int(_bits(params.weights)),
                "data": sequences.marks,
            },
            frozen=frozen,
            rows_of=lambda step, key: order.rows(step),
            source=sequences.name,
            layout=layout,
            resume=resume,
            stop_after=stop_after,
            save_every=save_every,
            log_every=log_every,
        )
    except TrainingStopped as stop:
        stop.params = made_of(stop.state)
        raise
    finally:
        loader.close()
    return made_of(state)


def step_of(
    model: DreamZeroModel,
    settings: FinetuneSettings,
    layout: FullySharded | None = None,
) -> tuple[Loss, optax.GradientTransformation]:
    """What a run's steps are made of.

    Args:
        model: the model.
        settings: the run's.
        layout: where it lies on a mesh; None for one device.

    Returns:
        The loss of what is trained, and the optimiser; both hashable.
    """
    objective = FlowMatching(
        model,
        shift=settings.shift,
        decoupled=settings.decoupled,
        dropout=settings.dropout,
        remat=True,
        layout=layout,
    )
    alpha = settings.alpha if settings.lora else None
    return _Loss(objective, alpha), _optimizer(settings)


@functools.cache
def _optimizer(settings: FinetuneSettings) -> optax.GradientTransformation:
    # Of a run of few steps, one at least has to be left to fall in.
    warmup = min(round(settings.warmup * settings.steps), settings.steps - 1)
    rate = warmup_cosine(settings.learning_rate, warmup, settings.steps)
    return clipped_adamw(rate, settings.weight_decay)


@jax.jit
def _bits(weights: Any) -> jax.Array:
    """A sum of the weights' bits, uint32, which marks them.

    Exact, so it is the same on any number of devices; a norm is not.
    """

    def one(x: jax.Array) -> jax.Array:
        kind = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
        bits = jax.lax.bitcast_convert_type(x, kind)
        return jnp.sum(bits.astype(jnp.uint32), dtype=jnp.uint32)

    return sum(map(one, jax.tree.leaves(weights)), jnp.uint32(0))


def _merged(trained: Any, frozen: Any, alpha: float | None) -> Any:
    return trained if alpha is None else merge_lora(frozen, trained, alpha)


def _check(settings: FinetuneSettings) -> None:
    check_run(settings)
    if settings.lora < 0:
        raise ValueError(f"lora is {settings.lora}; it is a rank, or 0 for all weights")
    for name in ("warmup", "dropout", "decoupled"):
        share = getattr(settings, name)
        if not 0 <= share <= 1 or (name == "warmup" and share == 1):
            raise ValueError(f"{name} is {share}; it is a share, from 0 to 1")
    if not (np.isfinite(settings.alpha) and settings.alpha > 0):
        raise ValueError(f"alpha is {settings.alpha}; it must be a positive number")
    training_noise(shift=settings.shift)
