"""A small Wan that makes films of moving shapes: what `sample` asks of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.network.bundled import Bundled
from jax_stepcache.network.tuned import TunedFile

from ..sizes.parameters import Weights
from ..wan.configuration import model_from_config as wan_from_config
from ..wan.model import WanModel
from ..wan.network.stages import WanCondition
from ..wan.sizes import WanConfig, WanRelease
from .words import KINDS, SAID, VOCABULARY
from .world import FRAMES, SIZE

# So many cosines of each kind enter beside the film: one that stands along each axis,
# and for rows and columns one that moves up and one that moves down their axis.
WAVES = 3
KINDS_OF_WAVES = 7
RELEASE = WanRelease(
    WanConfig(
        patch_size=(1, 4, 4),
        num_attention_heads=4,
        attention_head_dim=20,
        in_channels=3 + KINDS_OF_WAVES * WAVES,
        out_channels=3,
        text_dim=len(VOCABULARY),
        freq_dim=64,
        ffn_dim=240,
        num_layers=4,
    ),
    "t2v",
    shift=3.0,
    guidance_scale=2.0,
    num_inference_steps=16,
    stride=(1, 1, 1),
    size=(SIZE, SIZE),
    num_frames=FRAMES,
    fps=8,
)


@dataclass(frozen=True)
class FilmModel(Bundled, WanModel):
    """`WanModel`, over pixels, asked with words of a small vocabulary.

    The transformer, its stages and its conditions are Wan's. There is no VAE: the
    latent is the film itself, in [-1, 1]. There is no text encoder: each word is a row
    of zeros but for one number, see `words.encode`, and the negative prompt has no
    words unless given. Where a Wan that begins with a picture has mask and condition
    beside the latent, this one has waves by which a token knows its place and time, so
    that little training is enough. Some of them move, for direction, time and place
    say nothing two by two, and what only all three say is learned very late.
    """

    name = "film"
    tuned_file = TunedFile(Path(__file__).with_name("tuned.json"))

    def prepare(
        self, weights: Weights, observation: Mapping[str, jax.Array], guided: bool
    ) -> WanCondition:
        """Keys and values of the words; see `WanModel.prepare`."""
        text = jnp.asarray(observation["text"])
        places = places_of(self.transformer.patch_size, self.latent_size)
        shape = (len(text), *places.shape)
        beside = jnp.broadcast_to(jnp.asarray(places), shape)
        given = {"negative_text": jnp.zeros_like(text), **observation, "beside": beside}
        return super().prepare(weights, given, guided)

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """Prompts drawn at random, all words said."""
        return {"text": _draw_prompts(key, batch)}

    def decode(self, sample: jax.Array) -> dict[str, jax.Array]:
        """Turns a sample into a film.

        Args:
            sample: as sampled, (B, 3, frames, H, W).

        Returns:
            ``video`` float32[B, frames, H, W, 3] in [0, 1].
        """
        return {"video": _as_films(sample)}

    def _taken(self) -> set[str]:
        """Nothing beside the words; see `WanModel`."""
        return set()

    def _shapes(
        self, batch: int, observation: Mapping[str, Any]
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """The words alone; see `WanModel`."""
        shapes = super()._shapes(batch, observation)
        return {name: x for name, x in shapes.items() if name != "beside"}

    @property
    def is_bundled(self) -> bool:
        """See `Bundled`."""
        sizes, ours = self.transformer, RELEASE.transformer
        run = {"dtype": ours.dtype, "unroll": ours.unroll, "attention": ours.attention}
        same = replace(self.release, transformer=replace(sizes, **run)) == RELEASE
        return same and self.latent_size == FILM.latent_size


FILM = FilmModel(RELEASE, (FRAMES, SIZE, SIZE))
"""The bundled weights' model."""


def places_of(patch: tuple[int, int, int], size: tuple[int, int, int]) -> np.ndarray:
    """Where each token of a film is: cosines that stand, and cosines that move.

    Args:
        patch: (frames, rows, columns) of a token.
        size: likewise, of the film.

    Returns:
        float32 (KINDS_OF_WAVES * WAVES, frames, rows, columns), the same all over a
        token.
    """
    frame, row, column = np.meshgrid(
        *(
            (np.arange(length) // step + 0.5) * step / length
            for step, length in zip(patch, size, strict=True)
        ),
        indexing="ij",
    )
    # As fast as shapes are: a pixel a frame.
    way = frame * size[0] / SIZE
    moving = (row + way, row - way, column + way, column - way)
    phases = np.stack([frame, row, column, *moving])[:, None]
    waves = np.cos(np.pi * np.arange(1, WAVES + 1)[:, None, None, None] * phases)
    return waves.reshape(-1, *size).astype(np.float32)


@jax.jit
def _as_films(sample: jax.Array) -> jax.Array:
    return jnp.clip((jnp.moveaxis(sample, 1, -1) + 1.0) / 2.0, 0.0, 1.0)


@functools.partial(jax.jit, static_argnums=1)
def _draw_prompts(key: jax.Array, batch: int) -> jax.Array:
    rows, before = [], 0
    for each, words in zip(jax.random.split(key, len(KINDS)), KINDS, strict=True):
        drawn = jax.random.randint(each, (batch,), 0, len(words), jnp.int32)
        rows.append(SAID * jax.nn.one_hot(before + drawn, len(VOCABULARY)))
        before += len(words)
    return jnp.stack(rows, axis=1)


def model_from_config(config: Mapping[str, Any]) -> FilmModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    wan = wan_from_config(config)
    return FilmModel(wan.release, wan.latent_size)
