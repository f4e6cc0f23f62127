"""Films that the code makes, and what is read off them."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from jax_stepcache.models.film.quality import asked_in_turn, measure
from jax_stepcache.models.film.reading import read
from jax_stepcache.models.film.words import KINDS, VOCABULARY, encode, prompt_of
from jax_stepcache.models.film.world import (
    BACKGROUND,
    FRAMES,
    PALETTE,
    SIZE,
    Scene,
    centres,
    draw,
    render,
)


@pytest.fixture(scope="module")
def films():
    """Scenes, one of each prompt, and their films."""

    @jax.jit
    def made(keys, words):
        scenes = jax.vmap(draw)(keys)
        # What is said is chosen; where it begins was drawn for another direction.
        same = (scenes.direction == words[:, 2]).all()
        del same
        return scenes, jax.vmap(render)(scenes)

    scenes, frames = made(jax.random.split(jax.random.key(3), 80), asked_in_turn(80))
    return jax.tree.map(np.asarray, scenes), np.asarray(frames)
