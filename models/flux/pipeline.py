"""FLUX whole: words to pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jax_stepcache.backends import CacheBackend, DiffusionCacheConfig
from jax_stepcache.check import structs_of
from jax_stepcache.errors import naming_arguments
from jax_stepcache.loop.result import Stats
from jax_stepcache.meshes.beside import arrays_beside
from jax_stepcache.meshes.explicit import in_automatic_context
from jax_stepcache.network.params import Params
from jax_stepcache.options import Request
from jax_stepcache.pipeline import CachedSampler, backend_of
from jax_stepcache.processes import put_all
from jax_stepcache.requests.many import sample_many
from jax_stepcache.solvers.strength import noised

from ..pictures import fit_picture
from .asking import Asked
from .encoders import FluxEncoders, check_encoders
from .folder import load_folder
from .model import FluxModel
from .pictures import FluxPicture
from .planning import ELSEWHERE, Planned, plan


class FluxPipeline(CachedSampler):
    """Makes pictures of words, with any cache.

    ``picture = pipeline("a cat on the grass"); picture.save("cat.png")``. What is not
    said is the release's: size, steps, guidance. Pictures of another size are another
    compiled program; other words, seeds, guidance scales and thresholds are not.

    Attributes:
        params: the transformer.
        encoders: the networks around it.
        place: where a transformer goes that waits on the host; None if it does not.
    """

    params: Params
    model: FluxModel

    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def __init__(
        self,
        params: Params,
        encoders: FluxEncoders,
        *,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
        attention: str | None = None,
        place: Any = None,
    ) -> None:
        """Makes a pipeline.

        Args:
            params: a FLUX, from `jax_stepcache.load_params`.
            encoders: tokenizers, CLIP, T5 and the autoencoder.
            cache_backend: see `jax_stepcache.Pipeline`; a call may name another.
            cache_config: likewise.
            attention: ``"xla"``, or ``"cudnn"`` for the fused kernel of GPUs; None for
                what suits the device.
            place: of weights on the host, a tree of shardings: where they go once words
                are encoded, until the latents are there.

        Raises:
            TypeError: for params or encoders that are none.
            ValueError: for unknown names or settings, or parts that do not fit.
        """
        model = params.model if isinstance(params, Params) else None
        if not isinstance(model, FluxModel):
            raise TypeError(
                f"params must be those of a FLUX, got {type(params).__name__}"
                + ("" if model is None else f" of {model.name}")
            )
        if attention is not None:
            transformer = replace(model.transformer, attention=attention)
            release = replace(model.release, transformer=transformer)
            params = Params(params.weights, replace(model, release=release))
        # What waits on the host is not copied there, as arrays of others' are.
        told = params if place is None else Params(structs_of(params.weights), model)
        super().__init__(told, cache_backend=cache_backend, cache_config=cache_config)
        self.params = Params(params.weights, self.model)
        check_encoders(encoders, self.model.release)
        self.encoders = encoders
        self.place = place

    @classmethod
    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        transformer: str | os.PathLike[str] | None = None,
        lora: str | os.PathLike[str] | None = None,
        lora_scale: float = 1.0,
        offload: bool | str | Sequence[str] = False,
        dtype: DTypeLike | None = None,
        layers: str | None = None,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
        attention: str | None = None,
        mesh: Mesh | None = None,
        rules: Any = None,
    ) -> Self:
        """Makes a pipeline of a released folder, encoders and all.

        Args:
            folder: such as ``FLUX.1-dev``, downloaded; see `load_folder`.
            transformer: another file or folder for the transformer, such as the
                original's ``flux1-dev.safetensors``.
            lora: a file that is merged into the transformer, see `merge_lora`. What it
                has for text encoders is passed over, with a warning.
            lora_scale: how much of it.
            offload: what waits on the host while it is not needed: ``"text_encoder"``,
                CLIP and T5, which run once a prompt; ``"transformer"``, which comes
                when they are done, and goes before pictures are decoded; or both. True
                for the encoders.
            dtype: see `jax_stepcache.load_params`; so is ``layers``.
            layers: likewise.
            cache_backend: see `FluxPipeline`; so are the following.
            cache_config: likewise.
            attention: likewise.
            mesh: where the weights of all networks go.
            rules: likewise.

        Returns:
            The pipeline.

        Raises:
            FileNotFoundError: as `load_folder`; likewise ImportError and ValueError.
        """
        backend_of(cache_backend, cache_config)  # A typo: weights take long.
        loading = {"dtype": dtype, "mesh": mesh, "rules": rules, "layers": layers}
        loaded = load_folder(
            folder,
            transformer=transformer,
            lora=lora,
            lora_scale=lora_scale,
            offload=offload,
            **loading,
        )
        return cls(
            loaded.params,
            loaded.encoders,
            cache_backend=cache_backend,
            cache_config=cache_config,
            attention=attention,
            place=loaded.place,
        )

    @naming_arguments(ELSEWHERE)
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        prompt_2: str | Sequence[str] | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        true_cfg_scale: float = 1.0,
        guidance_scale: float | None = None,
        image: Any = None,
        strength: float | None = None,
        height: int | None = None,
        width: int | None = None,
        num_images: int = 1,
        slots: int | None = None,
        num_inference_steps: int | None = None,
        schedule: Any = None,
        seed: int = 0,
        noise: Any = None,
        cache: Any = None,
        cache_config: Any = None,
        solver: Any = None,
        budget: int | None = None,
        forecast: Any = None,
        decide: str = "batch",
        progress: Any = False,
    ) -> Any:
        """Makes a picture, or several.

        Args:
            prompt: what is to be seen.
            prompt_2: the words for T5; ``prompt`` unless given.
            negative_prompt: what true guidance leads away from.
            true_cfg_scale: how far; up to 1, or without a negative prompt, there is no
                true guidance, and a warning where there are such words.
            guidance_scale: what dev is told; the release's unless given.
            image: a picture that is changed: uint8 (H, W, 3), one of Pillow's, or a
                file. It is stretched to the size that is asked for.
            strength: share of the steps that are taken, with ``image``; 0.6 unless
                given.
            height: in pixels, with ``width``; the release's unless given, or the
                image's, of which what has over twice the release's pixels is scaled
                down to these.
            width: likewise.
            num_images: pictures of each prompt.
            slots: so many pictures are made side by side, each with decisions of its
                own, and the next one begins where one is done; all are one batch unless
                given.
            num_inference_steps: solver steps; the release's unless given.
            schedule: see `jax_stepcache.sample`; instead of the release's levels. Of
                ``num_inference_steps`` only where it is a name.
            seed: draws the noise; the second picture's is one more, and so on.
            noise: float32 (B, C, h, w) instead.
            cache: see `jax_stepcache.sample`; the pipeline's own unless given. None of
                either runs the network at every step; so does ``"none"``.
            cache_config: its settings.
            solver: Euler unless given.
            budget: see `jax_stepcache.sample`; so are the following.
            forecast: likewise.
            decide: likewise.
            progress: likewise.

        Returns:
            A `FluxPicture`; for a sequence of prompts, or several pictures, a list.

        Raises:
            ValueError: for what does not fit, before anything is encoded.
            TypeError: for arguments of the wrong kind.
        """
        # Nothing is bound yet but the arguments: those of `plan`.
        given = dict(locals())
        del given["self"]
        planned = plan(self.params, self.sampler, **given)
        pictures = self._made(planned, noise)
        one = isinstance(prompt, str) and num_images == 1
        return pictures[0] if one else pictures

    @in_automatic_context
    def _made(self, planned: Planned, noise: Any) -> list[FluxPicture]:
        """Encodes, samples and decodes what has been checked."""
        params, asked = planned.params, planned.asked
        shown = self._shown(asked)
        drawn = noise is None
        if drawn:
            struct = params.model.noise_struct(1)
            noise = jnp.stack(
                [jax.random.normal(key, struct.shape[1:]) for key in asked.keys]
            )
        if asked.image is not None:
            fitted = fit_picture(asked.image, asked.size, "stretched")
            clean = self.encoders.latents(np.moveaxis(fitted, 0, -1)[None])
            clean = jnp.repeat(clean, len(asked.prompts), axis=0)
            noise = noised(clean, jnp.asarray(noise), asked.schedule)
        latents, stats = self._sampled(planned, shown, noise)
        pixels = self.encoders.pictures(latents)
        seeds = asked.seeds if drawn else [None] * len(pixels)
        return [
            FluxPicture(own, said, latent, seed)
            for own, said, latent, seed in zip(
                pixels, stats, latents, seeds, strict=True
            )
        ]

    def _sampled(
        self, planned: Planned, shown: dict[str, jax.Array], noise: jax.Array
    ) -> tuple[jax.Array, list[Stats]]:
        """Latents, and the statistics of each picture."""
        params, count = planned.params, len(noise)
        if self.place is not None:
            params = Params(put_all(params.weights, self.place), params.model)
        shown, noise = arrays_beside(params.weights, (shown, noise))
        if planned.slots is None:
            result = planned.run(
                params, observation=shown, noise=noise, **planned.options
            )
            # A transformer that waits is gone before anything is decoded.
            return jax.block_until_ready(result.sample), [result.stats] * count
        requests = [
            Request(
                observation=jax.tree.map(lambda x, i=i: x[i : i + 1], shown),
                noise=noise[i : i + 1],
            )
            for i in range(count)
        ]
        many = sample_many(params, requests, slots=planned.slots, **planned.shared)
        latents = jnp.concatenate([one.sample for one in many])
        return jax.block_until_ready(latents), [one.stats for one in many]

    def _shown(self, asked: Asked) -> dict[str, jax.Array]:
        """What the transformer is shown, a row for each picture."""
        shown = self.encoders.prompts(asked.prompts, asked.prompts_2)
        if asked.negatives is not None:
            others = self.encoders.prompts(asked.negatives)
            shown |= {f"negative_{name}": x for name, x in others.items()}
        if asked.guidance is not None:
            count = len(asked.prompts)
            shown["guidance"] = jnp.full(count, asked.guidance, jnp.float32)
        return shown
