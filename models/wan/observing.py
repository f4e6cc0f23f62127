"""What the transformer is shown: prompts and pictures, encoded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from ..encoders.frozen import FrozenEncoders
from ..pictures import fit_picture
from .asking import Asked
from .conditioning import beside_latent, given_frames

Encode = Callable[[tuple[str, ...]], jax.Array]
"""Prompts to float32 (n, text_len, text_dim)."""


def observed(
    encoders: FrozenEncoders, asked: Asked, encode: Encode | None = None
) -> dict[str, jax.Array]:
    """Encodes what a film is made of.

    Args:
        encoders: the networks.
        asked: what is to be encoded.
        encode: what makes numbers of its words; the text encoder unless given.

    Returns:
        What `WanModel.prepare` is shown, a row for each prompt.
    """
    count, model = len(asked.prompts), asked.model
    encode = encode or functools.partial(_encoded, encoders)
    shown = {"text": encode(asked.prompts)}
    if asked.negatives is not None:
        shown["negative_text"] = encode(asked.negatives)
        if asked.guidance_scale_2 is not None:
            second = jnp.full(count, asked.guidance_scale_2, jnp.float32)
            shown["guidance_scale_2"] = second
    if asked.image is None:
        return shown
    frames, *sides = asked.size
    pictures = [x for x in (asked.image, asked.last_image) if x is not None]
    first, *last = (
        jnp.asarray(fit_picture(x, (sides[0], sides[1]), asked.fit))[None]
        for x in pictures
    )

    def rows(x: jax.Array) -> jax.Array:
        return jnp.repeat(x, count, axis=0)

    if model.release.task == "ti2v":
        return {**shown, "first": rows(encoders.latents(first[:, :, None]))}
    film = given_frames(first, frames, *last)
    stride = model.release.stride[0]
    beside = beside_latent(encoders.latents(film), stride, bool(last))
    shown["beside"] = rows(beside)
    if model.transformer.image_dim is not None:
        # The original looks at the pictures as they are, whatever the film's size.
        seen = [encoders.features(_whole(picture)) for picture in pictures]
        shown["image"] = rows(jnp.concatenate(seen, axis=1))
    return shown


def encoded_once(encoders: FrozenEncoders, asked: Iterable[Asked]) -> Encode:
    """Encodes all that several films say at once, and each text but once.

    Args:
        encoders: the networks.
        asked: the films.

    Returns:
        What gives the rows of their prompts.
    """
    said: dict[str, None] = {}
    for one in asked:
        said |= dict.fromkeys((*one.prompts, *(one.negatives or ())))
    prompts = tuple(said)
    rows = _encoded(encoders, prompts)
    return lambda some: rows[np.asarray([prompts.index(text) for text in some])]


def _whole(picture: np.ndarray) -> jax.Array:
    """A picture as the image encoder takes it: float32 (1, 3, H, W) in [-1, 1]."""
    return jnp.asarray(fit_picture(picture, picture.shape[:2], "bicubic"))[None]


def _encoded(encoders: FrozenEncoders, prompts: tuple[str, ...]) -> jax.Array:
    """Encoded prompts, each that is said several times but once."""
    said = list(dict.fromkeys(prompts))
    ids, mask = encoders.tokenize(said)
    found = encoders.prompts(np.asarray(ids), np.asarray(mask))
    places = np.asarray([said.index(prompt) for prompt in prompts])
    return found if len(said) == len(prompts) else found[places]
