"""The flow-matching loss on labelled pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..model import DiTModel
from .digits import Digits


@dataclass(frozen=True)
class FlowMatching:
    """What is learned: the velocity, at noise levels drawn evenly. Static.

    Attributes:
        model: the model.
        rows: pictures drawn for a step.
        dropout: share of pictures without their label, for guidance.
    """

    model: DiTModel
    rows: int
    dropout: float = 0.1

    def __call__(
        self, weights: Any, digits: Digits, batch: None, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss on pictures drawn from all of them.

        Args:
            weights: nested dict of arrays.
            digits: all pictures.
            batch: nothing.
            key: draws pictures, noise, noise levels and dropout.

        Returns:
            The mean squared error of the velocity, a float32 scalar, and the same by
            name.
        """
        del batch
        keys = jax.random.split(key, 4)
        drawn = self._rows(keys[0], len(digits.labels))
        clean, labels = digits.images[drawn], digits.labels[drawn]
        noise = jax.random.normal(keys[1], clean.shape, jnp.float32)
        sigma = jax.random.uniform(keys[2], (self.rows,), jnp.float32)
        dropped = jax.random.uniform(keys[3], (self.rows,)) < self.dropout
        labels = jnp.where(dropped, self.model.config.num_classes, labels)
        noisy = clean + sigma[:, None, None, None] * (noise - clean)
        said = self.model.denoise(weights, noisy, 1000.0 * sigma, labels)
        loss = jnp.mean(jnp.square(said - (noise - clean)))
        return loss, {"velocity": loss}

    def drawn(self, key: jax.Array, count: int) -> jax.Array:
        """Which of so many pictures a key draws, int32[rows]."""
        return self._rows(jax.random.split(key, 4)[0], count)

    def _rows(self, key: jax.Array, count: int) -> jax.Array:
        return jax.random.randint(key, (self.rows,), 0, count, jnp.int32)
