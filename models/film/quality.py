"""Whether films show what they were asked for.

    python -m jax_stepcache.models.film.quality --samples 160 --cache bespoke --budget 4
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.network.params import Params
from jax_stepcache.sampling import sample

from .model import FilmModel
from .reading import Reading, read
from .words import COLOURS, DIRECTIONS, SHAPES, encode, prompt_of
from .world import draw, render


class Quality(NamedTuple):
    """What a reader of films says.

    Attributes:
        all_right: share of the samples with the colour, the shape and the direction
            that were asked for.
        colour: share with that colour.
        shape: likewise.
        direction: likewise.
        psnr: to the nearest drawing of what was read, mean over the samples, in dB.
        ceiling: ``all_right`` of films that the world made.
        ceiling_psnr: ``psnr`` of those.
        samples: how many were looked at.
    """

    all_right: float
    colour: float
    shape: float
    direction: float
    psnr: float
    ceiling: float
    ceiling_psnr: float
    samples: int


def measure(
    weights: Any,
    model: FilmModel,
    *,
    samples: int = 160,
    seed: int = 1,
    **options: Any,
) -> Quality:
    """Samples films of all prompts in turn, and reads them.

    Args:
        weights: of the model.
        model: the model.
        samples: how many; there are 80 prompts.
        seed: of the noise.
        **options: of `sample`.

    Returns:
        The measurement.
    """
    asked = asked_in_turn(samples)
    drawn = sample(
        Params(weights, model),
        observation=encode([prompt_of(*one) for one in asked]),
        key=jax.random.key(seed),
        **options,
    ).sample
    right, psnr = _read_all(np.asarray(model.decode(drawn)["video"]), asked)
    keys = jax.random.split(jax.random.key(seed), samples)
    scenes = jax.vmap(draw)(keys, jnp.asarray(asked))
    best, best_psnr = _read_all(np.asarray(jax.vmap(render)(scenes)), asked)
    return Quality(
        all_right=float(right.all(axis=1).mean()),
        colour=float(right[:, 0].mean()),
        shape=float(right[:, 1].mean()),
        direction=float(right[:, 2].mean()),
        psnr=psnr,
        ceiling=float(best.all(axis=1).mean()),
        ceiling_psnr=best_psnr,
        samples=samples,
    )


def asked_in_turn(samples: int) -> np.ndarray:
    """Colour, shape and direction of so many prompts, int32 (samples, 3)."""
    counts = (len(COLOURS), len(SHAPES), len(DIRECTIONS))
    turn = np.arange(samples) % int(np.prod(counts))
    return np.stack(np.unravel_index(turn, counts), axis=1).astype(np.int32)


def _read_all(films: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, float]:
    """Which words of each film are right, bool (samples, 3); and the mean PSNR."""
    readings: list[Reading] = [read(film) for film in films]
    found = np.asarray([one[:3] for one in readings])
    return found == asked, float(np.mean([one.psnr for one in readings]))
