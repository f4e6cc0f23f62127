"""A pipeline whose encoders compile nothing: what is asked of them is written down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache import Params
from jax_stepcache.models import clip_vision, umt5, wan_vae
from jax_stepcache.models.encoders.frozen import FrozenEncoders
from jax_stepcache.models.tiny.encoders import IMAGE, TEXT, VAES
from jax_stepcache.models.wan import (
    RELEASES,
    Scheduler,
    WanPipeline,
    model_of,
    weight_shapes,
)
from jax_stepcache.models.wan.tiny import KINDS

LIKE = {
    "t2v": "wan2.1-t2v-14b",
    "i2v": "wan2.1-i2v-14b-480p",
    "flf2v": "wan2.1-flf2v-14b",
    "ti2v": "wan2.2-ti2v-5b",
    "t2v-a14b": "wan2.2-t2v-a14b",
    "i2v-a14b": "wan2.2-i2v-a14b",
}


@dataclass(frozen=True, eq=False)
class Cheap(FrozenEncoders):
    """Prompts are random by their words, films are averages of what they are of."""

    heard: list = field(default_factory=list)

    def prompts(self, ids, mask):
        del mask
        rows = [
            np.random.default_rng(int(row[0])).standard_normal((4, 24)) for row in ids
        ]
        return jnp.asarray(np.stack(rows), jnp.float32)

    def features(self, pictures):
        self.heard.append(("features", pictures.shape))
        return jnp.full((len(pictures), IMAGE.tokens, IMAGE.dim), pictures.mean())

    def latents(self, video):
        self.heard.append(("latents", video.shape))
        frames, step = 1 + (video.shape[2] - 1) // 4, self.vae_config.spatial_stride
        shape = (frames, video.shape[3] // step, video.shape[4] // step)
        return jnp.full((len(video), self.vae_config.z_dim, *shape), video.mean())

    def film(self, latents):
        step = self.vae_config.spatial_stride
        grey = np.asarray(latents).mean(1)[..., None].repeat(3, -1)
        grey = np.concatenate([grey[:, :1], grey[:, 1:].repeat(4, 1)], 1)
        whole = grey.repeat(step, 2).repeat(step, 3)
        return jnp.asarray(np.clip(128 + 40 * whole, 0, 255), jnp.uint8)


def words(said):
    """A token for each text, which stands for all of it."""
    ids = [[sum(map(ord, text)) % 1000] * 4 for text in said]
    return np.asarray(ids, np.int32), np.ones((len(said), 4), np.int32)


@lru_cache
def weights_of(kind):
    config = KINDS[kind].transformer
    rng = np.random.default_rng(0)

    def drawn(x):
        fan = x.shape[-2] if len(x.shape) > 1 else 1
        return jnp.asarray(rng.standard_normal(x.shape) / fan**0.5, jnp.float32)

    return jax.tree.map(drawn, weight_shapes(config))


def encoders_of(kind):
    vae = VAES[KINDS[kind].vae]
    parts = (umt5.UMT5Model(TEXT), clip_vision.CLIPVisionModel(IMAGE))
    text, image = (Params({}, model) for model in parts)
    vae = Params({"conv2": {}, "decoder": {}}, wan_vae.WanVAEModel(vae))
    return Cheap(words, text, image, vae)


def pipeline_of(kind, **options):
    """A pipeline whose release has films of 5 frames and 32 or 64 pixels."""
    side = 64 if kind == "ti2v" else 32
    release = replace(
        RELEASES[LIKE[kind]],
        transformer=KINDS[kind].transformer,
        size=(side, side),
        num_frames=5,
        num_inference_steps=4,
    )
    names, weights = release.experts, weights_of(kind)
    if len(names) > 1:
        weights = dict.fromkeys(names, weights)
    params = Params(weights, model_of(release))
    scheduler = Scheduler("unipc", "diffusers_unipc", release.shift)
    return WanPipeline(params, encoders_of(kind), scheduler=scheduler, **options)
