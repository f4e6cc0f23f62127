"""The flow-matching loss on films that are made for each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .model import FilmModel
from .words import KINDS, SAID, VOCABULARY
from .world import Scene, draw, render


@dataclass(frozen=True)
class FlowMatching:
    """What is learned: the velocity, at noise levels spread over a batch. Static.

    Attributes:
        model: the model.
        rows: films drawn for a step.
        dropout: share of films of which nothing is said, for guidance.
        silence: share of the single words that are left out of the others.
        shift: of the noise levels, as a schedule's; between even ones and those of the
            model's own schedule, for what is left of noise is taken away at low ones.
    """

    model: FilmModel
    rows: int
    dropout: float = 0.1
    silence: float = 0.05
    shift: float = 2.0

    def __call__(
        self, weights: Any, frozen: None, batch: None, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss on films drawn from all that there could be.

        Args:
            weights: nested dict of arrays.
            frozen: nothing.
            batch: nothing.
            key: draws films, noise, noise levels and what is said.

        Returns:
            The mean squared error of the velocity, a float32 scalar, and the same by
            name.
        """
        del frozen, batch
        keys = jax.random.split(key, 4)
        scenes = jax.vmap(draw)(jax.random.split(keys[0], self.rows))
        films = 2.0 * jnp.moveaxis(jax.vmap(render)(scenes), -1, 1) - 1.0
        noise = jax.random.normal(keys[1], films.shape, jnp.float32)
        even = _evenly(keys[2], self.rows)
        sigma = self.shift * even / (1 + (self.shift - 1) * even)
        text = self.said(keys[3], scenes)
        noisy = films + sigma[:, None, None, None, None] * (noise - films)
        condition = self.model.prepare(weights, {"text": text}, False)
        velocity = self.model.denoise(weights, noisy, 1000.0 * sigma, condition)
        loss = jnp.mean(jnp.square(velocity - (noise - films)))
        return loss, {"velocity": loss}

    def said(self, key: jax.Array, scenes: Scene) -> jax.Array:
        """What is said of scenes [rows], as `words.encode` has it."""
        all_of_it, words = jax.random.split(key)
        silent = jax.random.uniform(all_of_it, (self.rows, 1)) < self.dropout
        left_out = jax.random.uniform(words, (self.rows, len(KINDS))) < self.silence
        places, before = [], 0
        for named, kind in zip(scenes[:3], KINDS, strict=True):
            places.append(before + named)
            before += len(kind)
        text = SAID * jax.nn.one_hot(jnp.stack(places, axis=1), len(VOCABULARY))
        return jnp.where((silent | left_out)[..., None], 0.0, text)


def _evenly(key: jax.Array, rows: int) -> jax.Array:
    """Numbers in [0, 1), spread evenly over a batch: gradients vary less."""
    shift = jax.random.uniform(key, (), jnp.float32)
    return (jnp.arange(rows, dtype=jnp.float32) / rows + shift) % 1.0
