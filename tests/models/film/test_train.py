"""Training: what is learned, and what is exported."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import load_params
from jax_stepcache.models.film.loss import FlowMatching
from jax_stepcache.models.film.model import FILM, FilmModel
from jax_stepcache.models.film.train import Settings, export, train
from jax_stepcache.models.film.words import KINDS, SAID, VOCABULARY
from jax_stepcache.models.film.world import draw, render

SETTINGS = Settings(steps=12, batch=4, warmup=2)


def _small() -> FilmModel:
    sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "ffn_dim": 16}
    transformer = replace(FILM.transformer, **sizes, num_layers=1, freq_dim=8)
    return FilmModel(replace(FILM.release, transformer=transformer), FILM.latent_size)


def test_what_is_said_is_what_the_film_shows() -> None:
    """The words of each scene, or none of them, or some left out."""
    loss = FlowMatching(FILM, 64, dropout=0.25, silence=0.2)
    scenes = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 64))
    text = np.asarray(jax.jit(loss.said)(jax.random.key(1), scenes))
    counts = (text == SAID).sum(axis=(1, 2))
    assert ((text == 0) | (text == SAID)).all()
    assert set(counts) == {0, 1, 2, 3}
    assert (counts == 3).mean() > 0.2
    names = np.asarray(VOCABULARY)
    for row, words in zip(text, np.stack(scenes[:3], axis=1), strict=True):
        for said, place, kind in zip(row, words, KINDS, strict=True):
            assert not said.any() or names[said.argmax()] == kind[int(place)]


def test_the_loss_is_of_the_librarys_velocity() -> None:
    """Noise minus film at x = (1 - sigma) * film + sigma * noise and t = 1000 * sigma:
    a model that knows the film would have no loss."""
    key = jax.random.key(4)
    keys = jax.random.split(jax.random.split(key, 4)[0], 8)
    films = jax.jit(jax.vmap(lambda k: render(draw(k))))(keys)
    clean = 2 * jnp.moveaxis(films, -1, 1) - 1

    class Knowing:
        def prepare(self, weights, observation, guided):
            return None

        def denoise(self, weights, x, t, condition):
            return (x - clean) / (t / 1000)[:, None, None, None, None]

    loss, _ = jax.jit(FlowMatching(Knowing(), 8))(None, None, None, key)
    np.testing.assert_allclose(loss, 0, atol=1e-4)


@pytest.mark.slow
def test_a_run_learns_and_its_weights_load(tmp_path) -> None:
    """The loss falls, every weight moves, and the file names its model."""
    model = _small()
    state = train(SETTINGS, model, tmp_path / "run")
    path = tmp_path / "weights.safetensors"
    export(state, SETTINGS, model, path, "python -m train")
    params = load_params(path)
    assert params.model == model
    jax.tree.map(np.testing.assert_array_equal, params.weights, state.averaged)
    still = [x for x in jax.tree.leaves(state.trained) if not np.any(x)]
    assert not still
