"""Whether samples show the digit that they were asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from jax_stepcache.network.params import Params
from jax_stepcache.sampling import sample

from ..model import DiTModel
from .digits import Digits


class Quality(NamedTuple):
    """What a classifier of real digits says.

    Attributes:
        accuracy: share of samples that it takes for the digit asked for.
        ceiling: its accuracy on real digits that it was not shown.
        samples: how many were looked at.
        guidance_scale: they were sampled with.
    """

    accuracy: float
    ceiling: float
    samples: int
    guidance_scale: float


def measure(
    weights: Any,
    model: DiTModel,
    digits: Digits,
    *,
    samples: int = 500,
    **options: Any,
) -> Quality:
    """Samples as many of each digit, and lets a support vector machine read them.

    Args:
        weights: of the model.
        model: the model.
        digits: real ones; the machine learns four of five.
        samples: how many to sample.
        **options: of `sample`.

    Returns:
        The measurement.
    """
    from sklearn.svm import SVC

    rows = digits.images.reshape(len(digits.labels), -1)
    held_out = np.arange(len(rows)) % 5 == 0
    reader = SVC().fit(rows[~held_out], digits.labels[~held_out])
    asked = np.arange(samples, dtype=np.int32) % model.config.num_classes
    drawn = sample(
        Params(weights, model),
        observation={"label": asked},
        key=jax.random.key(1),
        **options,
    ).sample
    read = reader.predict(np.asarray(drawn).reshape(samples, -1))
    scale = options.get("guidance_scale", model.defaults.guidance_scale)
    return Quality(
        accuracy=float(np.mean(read == asked)),
        ceiling=float(reader.score(rows[held_out], digits.labels[held_out])),
        samples=samples,
        guidance_scale=float(scale),
    )
