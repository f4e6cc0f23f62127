"""The frozen networks around a transformer of films, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.errors import brief
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.beside import arrays_beside
from jax_stepcache.network.params import Params
from jax_stepcache.processes import put_all

from .. import clip_vision, umt5, wan_vae
from ..wan_vae import Tiles, WanVAEConfig
from . import programs
from .alike import pieces
from .waiting import parts_of, taken_away

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Texts to token ids and mask, int (n, text_len) each; cleans, cuts and pads."""


OFFLOADED = ("text_encoder", "image_encoder", "decoder")
"""What may wait on the host: UMT5, CLIP, and the half of the VAE that makes films."""

_MOST_PROMPTS = 8


@dataclass(frozen=True, eq=False)
class FrozenEncoders:
    """What makes numbers of words and pictures, and pictures of latents.

    Each lies where its weights do, which may be other devices than the transformer's,
    and one another's: what they are given is taken there.

    Attributes:
        tokenize: see `Tokenizer`.
        text: a UMT5 with its weights.
        image: a CLIP image encoder with its weights; None where nothing looks at its
            features.
        vae: a Wan VAE with its weights.
        tiles: how pictures are cut for the VAE that do not fit into memory whole; None
            for whole ones.
        waiting: of parts whose weights are on the host (see `offloaded`), where these
            go when they are needed: a tree of shardings each.
    """

    tokenize: Tokenizer
    text: Params
    image: Params | None
    vae: Params
    tiles: Tiles | None = None
    waiting: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that each is what it should be.

        Raises:
            TypeError: naming what is of another kind.
        """
        if not callable(self.tokenize):
            raise TypeError(
                f"encoders.tokenize is {brief(self.tokenize)}; give a function"
            )
        for name, kind in _KINDS.items():
            given = getattr(self, name)
            if given is None and name == "image":
                continue
            model = given.model if isinstance(given, Params) else None
            if not isinstance(model, kind):
                raise TypeError(
                    f"encoders.{name} is {brief(given)}; give the params of a "
                    f"{kind.__name__.removesuffix('Model')}"
                )
        if not isinstance(self.tiles, Tiles | None):
            raise TypeError(
                f"tiles is {brief(self.tiles)}; give wan_vae.Tiles, or None for whole "
                "pictures"
            )

    @property
    def vae_config(self) -> WanVAEConfig:
        """The VAE's sizes."""
        return config_of(self.vae)

    def prompts(self, ids: np.ndarray, mask: np.ndarray) -> jax.Array:
        """Encodes prompts, up to 8 in a call.

        Args:
            ids: int (n, text_len), the tokens.
            mask: likewise, 1 where there is one.

        Returns:
            float32 (n, text_len, text_dim), zero past their length.
        """
        weights = self._there("text_encoder", self.text.weights)
        weights, *rest = sent((weights, ids, mask), self.text.weights)
        encoded = [
            umt5.encode(config_of(self.text), weights, *(x[some] for x in rest))
            for some in pieces(len(ids), _MOST_PROMPTS)
        ]
        one = encoded[0] if len(encoded) == 1 else jnp.concatenate(encoded)
        return one.astype(jnp.float32)

    def features(self, pictures: jax.Array) -> jax.Array:
        """Looks at pictures.

        Args:
            pictures: float32 (n, 3, H, W) in [-1, 1].

        Returns:
            float32 (n, 257, image_dim).

        Raises:
            ValueError: without an image encoder.
        """
        if self.image is None:
            raise ValueError("there is no image encoder among these")
        weights = self._there("image_encoder", self.image.weights)
        pictures = arrays_beside(weights, pictures)
        last = jnp.moveaxis(pictures, 1, -1)
        seen = clip_vision.encode(config_of(self.image), weights, last)
        return seen.astype(jnp.float32)

    def latents(self, video: jax.Array) -> jax.Array:
        """Encodes films as one stream each.

        Args:
            video: float32 (B, 3, F, H, W) in [-1, 1], F one more than a multiple of 4.

        Returns:
            float32 (B, z, 1 + (F - 1) / 4, h, w), normalised.
        """
        weights = self.vae.weights
        video = sent(arrays_beside(weights, video), weights)
        config = self.vae_config
        return programs.latents_of(config, weights, video, tiles=self.tiles)

    def film(self, latents: Any) -> jax.Array:
        """Decodes latents as one stream; see `programs.film_of`.

        Args:
            latents: (B, z, n, h, w).

        Returns:
            uint8 (B, 4 n - 3, H, W, 3).
        """
        weights = self.vae.weights
        if "decoder" in self.waiting:
            weights = weights | self._there("decoder", _decoding(weights))
        latents = arrays_beside(weights, latents)
        config = self.vae_config
        latents = sent(latents, weights)
        return programs.film_of(config, weights, latents, tiles=self.tiles)

    def offloaded(self, parts: bool | str | Iterable[str] = True) -> Self:
        """The same with some weights on the host while they are not needed.

        They are sent to where they were for as long as a call takes, and dropped there
        afterwards.

        Args:
            parts: names in `OFFLOADED`, one or several; True for ``"text_encoder"``,
                by far the largest, which runs once a prompt; False for none.

        Returns:
            Encoders that take no memory of the devices for these.

        Raises:
            ValueError: for an unknown name.
        """
        parts = parts_of(parts, OFFLOADED, ("text_encoder",))
        changed: dict[str, Any] = {}
        places = dict(self.waiting)
        for name, part in (("text", "text_encoder"), ("image", "image_encoder")):
            params: Params | None = getattr(self, name)
            if params is not None and part in parts and part not in places:
                weights, places[part] = taken_away(params.weights)
                changed[name] = Params(weights, params.model)
        if "decoder" in parts and "decoder" not in places:
            half, places["decoder"] = taken_away(_decoding(self.vae.weights))
            changed["vae"] = Params(self.vae.weights | half, self.vae.model)
        return replace(self, waiting=places, **changed)

    def _there(self, part: str, weights: Any) -> Any:
        """A part's weights where they are used."""
        if part not in self.waiting:
            return weights
        return put_all(weights, self.waiting[part])


def _decoding(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Of a VAE's weights, those that only `decode` reads."""
    return {name: weights[name] for name in ("conv2", "decoder")}


_KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "text": umt5.UMT5Model,
        "image": clip_vision.CLIPVisionModel,
        "vae": wan_vae.WanVAEModel,
    }
)


def config_of(params: Params) -> Any:
    """The sizes of an encoder or a VAE."""
    model: Any = params.model
    return model.config
