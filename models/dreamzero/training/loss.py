"""The flow-matching loss, over all blocks of a sequence at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.checkpoints.placement import STACKED

from ...layers.prompt_attention import Context
from ...layers.spread import ALONE
from ...training.fully_sharded import FullySharded
from ..model import DreamZeroModel
from ..network import teacher_forcing
from ..network.parameters import bind
from .chunks import Chunks
from .noise import training_noise


@dataclass(frozen=True)
class FlowMatching:
    """What is learned: the defaults are the original's objective. Static.

    Attributes:
        model: the model.
        shift: timestep shift of the noise levels.
        bell: whether the middle noise levels count more, as in the original.
        decoupled: share of sequences whose actions have noise levels of their own.
        dropout: share of sequences without a prompt, for guidance.
        first_frame: whether the noisy first frame, which sees only itself, counts.
        floor: for a model that predicts the clean sample, the sigma below which its
            error counts no more than there: the error of the velocity grows without
            bound.
        remat: whether gradients compute the blocks anew instead of keeping them.
        layout: of a run on a mesh: each device has rows of its own; None without one.
    """

    model: DreamZeroModel
    shift: float = 5.0
    bell: bool = True
    decoupled: float = 0.0
    dropout: float = 0.0
    first_frame: bool = True
    floor: float = 0.02
    remat: bool = False
    layout: FullySharded | None = None

    def __call__(
        self, weights: Any, chunks: Chunks, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss on a batch.

        Args:
            weights: nested dict of arrays.
            chunks: the batch.
            key: draws noise, noise levels and dropout.

        Returns:
            The loss, a float32 scalar: the squared error of the velocity, weighted by
            noise level, video plus action; and each of the two.
        """
        c = self.model.dit
        batch, _, frames = chunks.video.shape[:3]
        blocks = (frames - 1) // c.num_frame_per_block
        keys = jax.random.split(key, 6)
        table = training_noise(shift=self.shift)
        levels = 0, len(table.sigmas), jnp.int32
        level = jax.random.randint(keys[0], (batch, 1 + blocks), *levels)
        own = jax.random.randint(keys[1], (batch, blocks), *levels)
        apart = jax.random.uniform(keys[2], (batch, 1)) < self.decoupled
        # A level for the first frame, and one for each block of frames and actions.
        per_frame = jnp.concatenate(
            [level[:, :1], _spread(level[:, 1:], c.num_frame_per_block)], axis=1
        )
        per_action = _spread(
            jnp.where(apart, own, level[:, 1:]), c.num_action_per_block
        )
        sigmas = jnp.asarray(table.sigmas)
        clean = {"video": chunks.video, "action": chunks.action}
        index = {"video": per_frame, "action": per_action}
        sigma = {
            "video": sigmas[per_frame][:, None, :, None, None],
            "action": sigmas[per_action][:, :, None],
        }
        noise = {
            name: jax.random.normal(k, x.shape, jnp.float32)
            for (name, x), k in zip(clean.items(), keys[3:5], strict=True)
        }
        noisy = {name: x + sigma[name] * (noise[name] - x) for name, x in clean.items()}

        told = jax.random.uniform(keys[5], (batch, 1, 1)) >= self.dropout
        spread = ALONE if self.layout is None else self.layout.spread(c.dtype)
        around = {name: x for name, x in weights.items() if name != STACKED}
        network = bind(c, {**weights, **spread.gather(around)})
        text = told.astype(chunks.text.dtype) * chunks.text
        context = Context(
            network.encode_text(text, spread),
            network.encode_image(chunks.image, spread),
        )
        video, action = teacher_forcing.forward(
            network,
            noisy["video"],
            noisy["action"],
            chunks.state,
            1000 * sigmas[per_frame],
            1000 * sigmas[per_action],
            context,
            clean=chunks.video,
            y=chunks.y,
            remat=self.remat,
            spread=spread,
        )
        losses = {}
        for name, said in (("video", video), ("action", action)):
            if self.model.prediction == "sample":
                error = (said - clean[name]) / jnp.maximum(sigma[name], self.floor)
            else:
                error = said - (noise[name] - clean[name])
            square = jnp.square(error)
            if self.bell:
                weight = jnp.asarray(table.weights)[index[name]]
                square = square * weight.reshape(sigma[name].shape)
            if name == "video" and not self.first_frame:
                square = square[:, :, 1:]
            losses[name] = jnp.mean(square)
        return losses["video"] + losses["action"], losses


def unrolled(model: DreamZeroModel) -> DreamZeroModel:
    """The same model with its blocks unrolled.

    A CPU takes a third less time for the gradients of a small one.
    """
    return replace(model, dit=replace(model.dit, unroll=model.dit.num_layers))


def _spread(levels: jax.Array, count: int) -> jax.Array:
    """One level for each block (B, blocks) to one for each of its members."""
    return jnp.repeat(levels, count, axis=1)
