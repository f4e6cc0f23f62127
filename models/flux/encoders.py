"""The frozen networks around FLUX's transformer, and what is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

from .. import clip_text, flux_vae, umt5
from ..encoders.alike import pieces
from ..encoders.frozen import config_of
from ..encoders.waiting import taken_away
from ..prompts.tokenizer import Tokens
from .sizes import FluxRelease

_MOST = 8


@dataclass(frozen=True, eq=False)
class FluxEncoders:
    """What makes numbers of words and pictures, and pictures of latents.

    Each lies where its weights do; what they are given is taken there.

    Attributes:
        tokenize: texts to CLIP's tokens, int (n, 77).
        clip: CLIP's text encoder with its weights.
        tokenize_t5: texts to T5's tokens and mask, int (n, text_len) each.
        t5: T5's encoder with its weights.
        vae: the autoencoder with its weights.
        waiting: of encoders whose weights are on the host (see `offloaded`), where
            these go when they are needed: a tree of shardings each.
    """

    tokenize: Callable[[Sequence[str]], np.ndarray]
    clip: Params
    tokenize_t5: Callable[[Sequence[str]], Tokens]
    t5: Params
    vae: Params
    waiting: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that each is what it should be.

        Raises:
            TypeError: naming what is of another kind.
        """
        for name in ("tokenize", "tokenize_t5"):
            if not callable(getattr(self, name)):
                given = brief(getattr(self, name))
                raise TypeError(f"encoders.{name} is {given}; give a function")
        for name, kind in _KINDS.items():
            given = getattr(self, name)
            model = given.model if isinstance(given, Params) else None
            if not isinstance(model, kind):
                raise TypeError(
                    f"encoders.{name} is {brief(given)}; give the params of a "
                    f"{kind.__name__.removesuffix('Model')}"
                )

    def prompts(
        self, texts: Sequence[str], others: Sequence[str] | None = None
    ) -> dict[str, jax.Array]:
        """Encodes prompts, up to 8 in a call; one that is said twice, once.

        T5 sees what fills a prompt up, too, as in the originals.

        Args:
            texts: the prompts.
            others: for T5; the same unless given.

        Returns:
            ``text`` float32 (n, text_len, dim) and ``pooled`` float32 (n, dim).
        """
        others = texts if others is None else others
        said = list(dict.fromkeys(zip(texts, others, strict=True)))
        first, second = zip(*said, strict=True)
        ids, t5_ids = self.tokenize(first), self.tokenize_t5(second).ids
        pooled = self._each("clip", ids, _pooled)
        text = self._each("t5", t5_ids, _features)
        places = [said.index(pair) for pair in zip(texts, others, strict=True)]
        at = np.asarray(places)
        return {"text": text[at], "pooled": pooled[at]}

    def latents(self, pictures: np.ndarray) -> jax.Array:
        """Encodes pictures (n, H, W, 3) in [-1, 1] as float32 (n, C, h, w)."""
        weights = self.vae.weights
        pictures = sent(arrays_beside(weights, pictures), weights)
        return flux_vae.encode(config_of(self.vae), weights, pictures)

    def pictures(self, latents: Any) -> np.ndarray:
        """Decodes latents (n, C, h, w), one after the other, to uint8 (n, H, W, 3)."""
        weights, config = self.vae.weights, config_of(self.vae)
        latents = sent(arrays_beside(weights, latents), weights)
        each = [
            flux_vae.as_pixels(flux_vae.decode(config, weights, one[None]))
            for one in latents
        ]
        return np.concatenate(jax.device_get(each))

    def offloaded(self) -> Self:
        """The same with CLIP and T5 on the host while they are not needed.

        Each is sent to where it was for as long as its call takes, and dropped there
        afterwards.
        """
        changed: dict[str, Any] = {}
        places = dict(self.waiting)
        for name in ("clip", "t5"):
            params: Params = getattr(self, name)
            if name not in places:
                weights, places[name] = taken_away(params.weights)
                changed[name] = Params(weights, params.model)
        return replace(self, waiting=places, **changed)

    def _each(
        self, name: str, ids: np.ndarray, encode: Callable[..., jax.Array]
    ) -> jax.Array:
        params: Params = getattr(self, name)
        weights = params.weights
        if name in self.waiting:
            weights = put_all(weights, self.waiting[name])
        weights, ids = sent((weights, ids), weights)
        config = config_of(params)
        found = [encode(config, weights, ids[i]) for i in pieces(len(ids), _MOST)]
        return jax.block_until_ready(jnp.concatenate(found).astype(jnp.float32))


def check_encoders(encoders: Any, release: FluxRelease) -> None:
    """Checks that what the encoders make is what the transformer takes.

    Raises:
        TypeError: if they are none.
        ValueError: if something is wider or narrower.
    """
    if not isinstance(encoders, FluxEncoders):
        raise TypeError(f"encoders are {type(encoders).__name__}; give FluxEncoders")
    c, vae = release.transformer, config_of(encoders.vae)
    wanted = {
        "CLIP's width": (config_of(encoders.clip).dim, c.pooled_projection_dim),
        "T5's width": (config_of(encoders.t5).dim, c.joint_attention_dim),
        "the autoencoder's channels": (vae.latent_channels, c.channels),
        "the autoencoder's pixels of a latent": (vae.stride, release.stride),
    }
    for what, (given, taken) in wanted.items():
        if given != taken:
            raise ValueError(f"{what}: {given}; the transformer takes {taken}")


def _pooled(config: Any, weights: Any, ids: Any) -> jax.Array:
    return clip_text.encode(config, weights, ids).pooled


def _features(config: Any, weights: Any, ids: Any) -> jax.Array:
    return umt5.encode(config, weights, ids, jnp.ones_like(ids))


_KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "clip": clip_text.CLIPTextModel,
        "t5": umt5.UMT5Model,
        "vae": flux_vae.FluxVAEModel,
    }
)
