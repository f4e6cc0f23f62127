"""Whether films show what they were asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.network.params import Params
from jax_stepcache.sampling import sample

from .model import FilmModel
from .reading import read
from .words import KINDS, encode, prompt_of
from .world import draw, render


class Quality(NamedTuple):
    """What a reader of films says, see `reading.read`.

    Attributes:
        right: share of the films with the colour, the shape and the direction that
            were asked for.
        colour: share with that colour.
        shape: likewise.
        direction: likewise.
        psnr: to the nearest drawing of what was read, mean over the films, in dB.
        films: how many were looked at.
    """

    right: float
    colour: float
    shape: float
    direction: float
    psnr: float
    films: int


def asked_in_turn(count: int) -> np.ndarray:
    """Colour, shape and direction of so many prompts, int32 (count, 3)."""
    kinds = tuple(len(kind) for kind in KINDS)
    turn = np.arange(count) % int(np.prod(kinds))
    return np.stack(np.unravel_index(turn, kinds), axis=1).astype(np.int32)


def judge(films: np.ndarray, asked: np.ndarray) -> Quality:
    """Reads films.

    Args:
        films: (count, frames, rows, columns, 3) in [0, 1].
        asked: int (count, 3), what each should show.

    Returns:
        The judgement.
    """
    readings = [read(film) for film in films]
    same = np.asarray([one[:3] for one in readings]) == asked
    colour, shape, direction = (float(x) for x in same.mean(axis=0))
    return Quality(
        right=float(same.all(axis=1).mean()),
        colour=colour,
        shape=shape,
        direction=direction,
        psnr=float(np.mean([one.psnr for one in readings])),
        films=len(films),
    )


def worlds_own(asked: np.ndarray, seed: int) -> np.ndarray:
    """Films that the world makes of prompts: the best that a model could do."""
    keys = jax.random.split(jax.random.key(seed), len(asked))
    return np.asarray(_made(keys, jnp.asarray(asked)))


def sampled(
    weights: Any, model: FilmModel, asked: np.ndarray, seed: int, **options: Any
) -> np.ndarray:
    """Films that a model makes of prompts.

    Args:
        weights: of the model.
        model: the model.
        asked: int (count, 3).
        seed: of the noise.
        **options: of `sample`.

    Returns:
        (count, frames, rows, columns, 3) in [0, 1].
    """
    drawn = sample(
        Params(weights, model),
        observation=encode([prompt_of(*one) for one in asked]),
        key=jax.random.key(seed),
        **options,
    ).sample
    return np.asarray(model.decode(drawn)["video"])


@jax.jit
def _made(keys: jax.Array, asked: jax.Array) -> jax.Array:
    return jax.vmap(render)(jax.vmap(draw)(keys, asked))
