"""Wan whole: words, and pictures, to a film."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
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
from jax_stepcache.loop.result import SampleResult
from jax_stepcache.meshes.beside import arrays_beside
from jax_stepcache.meshes.explicit import in_automatic_context
from jax_stepcache.network.params import Params
from jax_stepcache.paths import as_path
from jax_stepcache.pipeline import CachedSampler, backend_of
from jax_stepcache.sampling import sample_by_experts

from ..encoders.frozen import FrozenEncoders, Tokenizer
from ..wan_vae import Tiles
from .checkpoint.scheduler import Scheduler
from .conditioning import with_first
from .film import WanFilm
from .folder import check_encoders, load_folder, model_in
from .lora import check_files, with_files
from .many import check_together, made_by_turns, turns_of, turns_of_prompts
from .model import WanModel
from .observing import observed
from .offloading import Places
from .planning import ELSEWHERE, Planned, plan
from .starting import begun_from


class WanPipeline(CachedSampler):
    """Makes films of words and pictures, with any cache.

    ``film = pipeline("a cat on the grass"); film.save("cat.mp4")``. What is not said is
    the release's: size, frames, steps, guidance, the words that it leads away from. A
    film of another size is another compiled program; other words, pictures, seeds,
    guidance scales and thresholds are not.

    Attributes:
        params: the transformer, or both experts.
        encoders: the networks around it.
        scheduler: which solver and noise levels films are sampled with.
        places: where experts go that wait on the host; None where none does.
    """

    params: Params
    model: WanModel

    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def __init__(
        self,
        params: Params,
        encoders: FrozenEncoders,
        *,
        scheduler: Scheduler | None = None,
        cache_backend: str | CacheBackend | None = None,
        cache_config: DiffusionCacheConfig | Mapping[str, Any] | None = None,
        attention: str | None = None,
        places: Places | None = None,
    ) -> None:
        """Makes a pipeline.

        Args:
            params: a Wan of any release, from `jax_stepcache.load_params`.
            encoders: tokenizer, UMT5, VAE, and CLIP where the release looks at its
                features.
            scheduler: how films are sampled; the original's UniPC unless given.
            cache_backend: see `jax_stepcache.Pipeline`; a call may name another.
            cache_config: likewise.
            attention: ``"xla"``, or ``"cudnn"`` for the fused kernel of GPUs; None for
                what suits the device.
            places: of experts on the host (see `offloaded`), where they go: the
                high-noise one for its steps, then the other, once a film.

        Raises:
            TypeError: for params or encoders that are none.
            ValueError: for unknown names or settings, or parts that do not fit.
        """
        model = params.model if isinstance(params, Params) else None
        if not isinstance(model, WanModel):
            raise TypeError(
                f"params must be those of a Wan, got {type(params).__name__}"
                + ("" if model is None else f" of {model.name}")
            )
        if attention is not None:
            transformer = replace(model.transformer, attention=attention)
            release = replace(model.release, transformer=transformer)
            params = Params(params.weights, replace(model, release=release))
        # What waits on the host is not copied there, as arrays of others' are.
        told = params if places is None else Params(structs_of(params.weights), model)
        super().__init__(told, cache_backend=cache_backend, cache_config=cache_config)
        self.params = Params(params.weights, self.model)
        check_encoders(encoders, self.model.release)
        self.encoders = encoders
        self.places = places
        release = self.model.release
        self.scheduler = scheduler or Scheduler("unipc", "original", release.shift)

    @classmethod
    @naming_arguments({"cache": "cache_backend", "config": "cache_config"})
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
        lora: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        lora_scale: float = 1.0,
        offload: bool | str | Sequence[str] = False,
        tiles: Tiles | None = None,
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
            folder: such as ``Wan2.1-T2V-1.3B-Diffusers``, downloaded; see
                `load_folder`.
            tokenizer: the text encoder's, or where it lies; in the folder unless given.
            lora: a file that is merged into the transformer, see `merge_lora`; for
                experts ``{"high": file, "low": file}``, or one of the two.
            lora_scale: how much of it.
            offload: what waits on the host while it is not needed: ``"text_encoder"``,
                ``"image_encoder"``, ``"decoder"``, or ``"experts"``, of which one at a
                time is on the devices then; one or several of them. True for the text
                encoder and the experts.
            tiles: how pictures are cut for the VAE that do not fit; see
                `FrozenEncoders`.
            dtype: see `jax_stepcache.load_params`; so is ``layers``.
            layers: likewise.
            cache_backend: see `WanPipeline`; so are the following.
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
        # Headers first: weights take long.
        check_files(model_in(as_path(folder, "folder")), lora, lora_scale)
        loaded = load_folder(
            folder,
            tokenizer,
            offload=offload,
            tiles=tiles,
            adapt=functools.partial(with_files, lora=lora, scale=lora_scale),
            **loading,
        )
        return cls(
            loaded.params,
            loaded.encoders,
            scheduler=loaded.scheduler,
            cache_backend=cache_backend,
            cache_config=cache_config,
            attention=attention,
            places=loaded.places,
        )

    @naming_arguments(ELSEWHERE)
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        image: Any = None,
        last_image: Any = None,
        video: Any = None,
        strength: float | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        fit: str | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_scale_2: float | None = None,
        guidance_interval: Any = None,
        seed: int = 0,
        noise: Any = None,
        cache: Any = None,
        cache_config: Any = None,
        schedule: Any = None,
        sigmas: str | None = None,
        shift: float | None = None,
        solver: Any = None,
        budget: int | None = None,
        forecast: Any = None,
        slots: int | None = None,
        decide: str = "batch",
        progress: Any = False,
    ) -> Any:
        """Makes a film, or one for each prompt.

        Args:
            prompt: what is to be seen; cleaned as the originals do it.
            negative_prompt: what guidance leads away from; the original's words unless
                given.
            image: the first frame: uint8 (H, W, 3), a picture of Pillow's, or a file.
            last_image: the last one.
            video: uint8 (F, H, W, 3), or a file, that is changed, as much as
                ``strength`` says.
            strength: share of the steps that are taken, with ``video``; 0.8 unless
                given.
            height: of the film in pixels, with ``width``; the release's unless given,
                or what has its area and the picture's aspect.
            width: likewise.
            num_frames: one more than a multiple of 4; the release's unless given.
            fit: how a picture gets the film's size, see `FITS`; as diffusers does it
                where height and width are given, else as the original.
            num_inference_steps: solver steps; the release's unless given.
            guidance_scale: of the transformer, of two that of high noise; up to 1 there
                is no guidance.
            guidance_scale_2: of the low-noise expert. Unless given it is the release's,
                or ``guidance_scale`` where that is given.
            guidance_interval: see `jax_stepcache.sample`.
            seed: draws the noise; the second prompt's is one more, and so on.
            noise: float32 (B, C, f, h, w) instead.
            cache: see `jax_stepcache.sample`; the pipeline's own unless given. None of
                either runs the network at every step; so does ``"none"``.
            cache_config: its settings; with experts ``{"high": ..., "low": ...}`` for
                each its own.
            schedule: see `jax_stepcache.sample`; instead of steps and shift, but for a
                name, which goes with the steps.
            sigmas: which noise levels, see `SPACINGS`; the folder's unless given.
            shift: of the noise levels; the folder's unless given.
            solver: the folder's unless given.
            budget: see `jax_stepcache.sample`; so are the following.
            forecast: likewise.
            slots: so many films are made side by side, each with decisions of its own,
                and the next one begins where one is done; all are one batch unless
                given. `film_many` takes films that differ in more than their prompts.
            decide: see `jax_stepcache.sample`; so is ``progress``.
            progress: likewise.

        Returns:
            A `WanFilm`; for a sequence of prompts a list of them.

        Raises:
            ValueError: for what does not fit, before anything is encoded: sizes,
                pictures that the release takes none of, or lacks, unknown names.
            TypeError: for arguments of the wrong kind.
        """
        # Nothing is bound yet but the arguments: those of `plan`.
        given = dict(locals())
        del given["self"], given["slots"]
        if slots is not None:
            check_together(self.places is not None)
            told = self.params, self.sampler, self.scheduler
            turns = turns_of_prompts(*told, slots=slots, **given)
            films = made_by_turns(self.params, self.encoders, turns)
            return films[0] if isinstance(prompt, str) else films
        planned = plan(self.params, self.sampler, self.scheduler, **given)
        films = self._films(planned, noise)
        return films[0] if isinstance(prompt, str) else films

    def film_many(
        self, films: Iterable[str | Mapping[str, Any]], *, slots: int = 4, **shared: Any
    ) -> list[WanFilm]:
        """Makes films that differ in whatever, each as if it were alone.

        A slot whose film is done takes the next one, inside one compiled loop; those of
        one size run together, and each size is a program of its own. See
        `jax_stepcache.sample_many`.

        Args:
            films: a prompt each; or a mapping of ``prompt`` and of what the film has of
                its own, by the names of a call: sizes, steps, guidance, pictures,
                seed, noise, ``cache_config``, ``budget``, ``forecast`` and so on.
            slots: how many are made side by side; memory grows with it.
            **shared: what a call takes, for all films that say nothing else; and the
                cache, the solver and the guidance interval, which are those of all.
                Unless a film has its own, ``seed`` grows by one with each.

        Returns:
            The films, in their order; ``stats`` are each one's own.

        Raises:
            ValueError: for a film that does not fit, with its index, before anything is
                encoded; or where experts wait on the host.
            TypeError: likewise; or for arguments that there are not.
        """
        check_together(self.places is not None)
        told = self.params, self.sampler, self.scheduler
        turns = turns_of(*told, films, slots=slots, **shared)
        return made_by_turns(self.params, self.encoders, turns)

    @in_automatic_context
    def _films(self, planned: Planned, noise: Any) -> list[WanFilm]:
        """Encodes, samples and decodes what has been checked."""
        asked = planned.asked
        shown = observed(self.encoders, asked)
        given = {"observation": shown, "noise": noise}
        if asked.video is not None:
            given["init_sample"] = begun_from(self.encoders, asked)
        result = self._sampled(planned, given)
        latents = result.sample
        if "first" in shown:
            latents = with_first(latents, jnp.asarray(shown["first"]))
        frames = np.asarray(jax.device_get(self.encoders.film(latents)))
        fps = self.model.release.fps
        return [
            WanFilm(own, result.stats, latent, fps)
            for own, latent in zip(frames, latents, strict=True)
        ]

    def _sampled(self, planned: Planned, given: dict[str, Any]) -> SampleResult:
        """Samples by all weights at once, or by experts as they come."""
        params, run, options = planned.params, planned.run, planned.options
        if self.places is not None:
            options = {**getattr(run, "keywords", {}), **options}
            run = functools.partial(
                sample_by_experts, bring=functools.partial(self.places.bring, params)
            )
        else:
            given = arrays_beside(params.weights, given)
        return run(params, **given, **options)
