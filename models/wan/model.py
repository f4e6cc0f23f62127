"""Wan as a model of this library: what `sample` and the pipeline ask of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.check import batch_size, check_arrays, static_count
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.protocol import SamplingDefaults, TunedSchedule

from ..layers.prompt_attention import Context
from ..layers.video_axes import constrained
from ..observations import named
from ..sizes.parameters import Weights
from .calibrated import calibrated
from .network import stages
from .network.parameters import bind
from .network.stages import Experts, Stage, WanCondition
from .sizes import WanConfig, WanRelease

_TEXT_LEN = 512


@dataclass(frozen=True)
class WanModel:
    """Implements `jax_stepcache.network.protocol.Model` over `WanTransformer`.

    Attributes:
        release: the transformer's sizes, whether there are two of them, and defaults.
        latent_size: frames, rows and columns of the latent.
        layout: where rows, heads and so on lie on a mesh, or None.
        alone: the name of one of two experts, where these are its steps and the other's
            weights are not there.
        together: whether all rows are always at one timestep.
    """

    release: WanRelease
    latent_size: tuple[int, int, int]
    layout: Layout | None = None
    alone: str | None = None
    together: bool = False

    name = "wan"
    outputs = None
    guided_outputs = None
    signal_output = None
    # Frames, rows and columns, for signals that look at the spectrum.
    spatial_axes = (2, 3, 4)

    def __post_init__(self) -> None:
        """Checks that the latents fit the transformer.

        Raises:
            ValueError: if they do not.
        """
        _, rows, cols = self.transformer.patch_size
        frames, height, width = self.latent_size
        if min(self.latent_size) < 1 or height % rows or width % cols:
            raise ValueError(
                f"latent_size is {self.latent_size}; it must be positive, with rows "
                f"and columns that are multiples of {(rows, cols)}"
            )
        del frames

    @property
    def transformer(self) -> WanConfig:
        """The sizes of the transformer, or of each expert."""
        return self.release.transformer

    @property
    def defaults(self) -> SamplingDefaults:
        """The release's."""
        release = self.release
        return SamplingDefaults(
            num_inference_steps=release.num_inference_steps,
            shift=release.shift,
            guidance_scale=release.guidance_scale,
            solver="unipc",
        )

    @property
    def experts(self) -> Experts:
        """The transformers, and when each is asked."""
        boundary = self.release.boundary_ratio
        if boundary is None:
            return Experts(self.transformer)
        return Experts(
            self.transformer,
            self.release.experts,
            boundary * 1000,
            self.alone,
            self.together,
        )

    @property
    def experts_meet_at(self) -> float | None:
        """See `jax_stepcache.network.protocol.OfExperts`."""
        return self.release.boundary_ratio

    def in_step(self) -> WanModel:
        """See `jax_stepcache.network.protocol.OfExperts`."""
        return replace(self, together=True)

    def expert_at(self, t: float) -> str:
        """See `jax_stepcache.network.protocol.OfExperts`."""
        high, *low = self.release.experts
        return low[0] if low and t < self.experts.boundary else high

    @property
    def num_blocks(self) -> int:
        """See `jax_stepcache.Stages`; so are the methods below."""
        return self.transformer.num_layers

    def denoise(
        self, weights: Weights, sample: jax.Array, t: jax.Array, condition: WanCondition
    ) -> jax.Array:
        """Predicts the velocity.

        Args:
            weights: nested dict of arrays; of two experts, one for each by name.
            sample: (rows, C, frames, H, W) float32.
            t: float32[rows] timesteps.
            condition: of as many rows.

        Returns:
            The velocity, like ``sample``.
        """
        pinned = functools.partial(constrained, self.layout)
        condition = pinned(condition)
        return stages.denoise(
            self.experts, weights, sample, t, condition, pinned=pinned
        )

    def embed(
        self, weights: Weights, sample: jax.Array, t: jax.Array, condition: WanCondition
    ) -> tuple[jax.Array, Stage]:
        """Tokens (rows, tokens, D), and what else is read."""
        condition = constrained(self.layout, condition)
        hidden, stage = stages.embed(self.experts, weights, sample, t, condition)
        return constrained(self.layout, hidden), stage

    def embed_through(
        self,
        weights: Weights,
        sample: jax.Array,
        t: jax.Array,
        condition: WanCondition,
        stop: int,
    ) -> jax.Array:
        """See `jax_stepcache.network.stages.AtOnce`."""
        pinned = functools.partial(constrained, self.layout)
        condition = pinned(condition)
        return stages.embed_through(
            self.experts, weights, sample, t, condition, stop, pinned
        )

    def blocks(
        self, weights: Weights, hidden: jax.Array, context: Stage, start: int, stop: int
    ) -> jax.Array:
        """Sends tokens through blocks ``start`` to ``stop - 1``."""
        return stages.blocks(self.experts, weights, hidden, context, start, stop)

    def head(self, weights: Weights, hidden: jax.Array, context: Stage) -> jax.Array:
        """The velocity, (rows, C, frames, H, W) float32."""
        return stages.head(self.experts, weights, hidden, context)

    def modulated(
        self, weights: Weights, hidden: jax.Array, context: Stage
    ) -> jax.Array:
        """Block 0's modulated input, (rows, tokens, D)."""
        return stages.modulated(self.experts, weights, hidden, context)

    def times(
        self, weights: Weights, hidden: jax.Array, context: Stage
    ) -> dict[str, jax.Array]:
        """See `jax_stepcache.network.stages.Timed`."""
        del weights, hidden
        return stages.times(self.experts, context)

    def shown(self, sample: jax.Array, condition: WanCondition) -> jax.Array:
        """See `jax_stepcache.network.stages.Shown`."""
        return stages.entering(sample, condition)

    def guidance_at(
        self, scale: jax.Array, t: jax.Array, condition: WanCondition
    ) -> jax.Array:
        """See `jax_stepcache.network.protocol.GuidedByNoise`."""
        batch = len(t) // 2
        scales = jnp.broadcast_to(scale, (batch,))
        if condition.low_scale is None:
            return scales
        # A row of scale 1 has no guidance, whichever expert it asks.
        low = (t[:batch] < self.experts.boundary) & (scales != 1)
        return jnp.where(low, condition.low_scale[:batch], scales)

    def prepare(
        self, weights: Weights, observation: Mapping[str, jax.Array], guided: bool
    ) -> WanCondition:
        """Keys and values of the prompts, once a film; see `Model.prepare`.

        Args:
            weights: nested dict of arrays.
            observation: ``text`` (B, tokens, text_dim), and ``negative_text`` of the
                same shape under guidance; where the transformer takes them ``image``
                (B, image tokens, image_dim) features and ``beside`` (B, channels, f,
                H, W) mask and condition; of a given first frame ``first``
                (B, C, 1, H, W); of two experts ``guidance_scale_2`` (B,), the
                low-noise one's, the release's unless given.
            guided: adds as many rows with the negative prompt.

        Returns:
            The condition, of B or 2 B rows.

        Raises:
            ValueError: if guidance lacks its negative prompt.
        """
        text, negative = observation["text"], observation.get("negative_text")
        if guided and negative is None:
            raise ValueError("guidance needs observation['negative_text']")

        def rows(x: jax.Array | None, other: jax.Array | None = None) -> Any:
            if x is None or not guided:
                return x
            return jnp.concatenate([x, x if other is None else other])

        scale = observation.get("guidance_scale_2", self.release.guidance_scale_2)
        if scale is not None:
            scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (len(text),))
        text, image = rows(text, negative), rows(observation.get("image"))
        contexts = self._contexts(weights, text, image)
        beside, first = (rows(observation.get(name)) for name in ("beside", "first"))
        made = WanCondition(contexts, beside, first, rows(scale))
        return constrained(self.layout, made)

    def check_observation(self, observation: Any) -> int:
        """See `Model.check_observation`."""
        if not isinstance(observation, Mapping) or "text" not in observation:
            raise ValueError(
                "observation must be a mapping with 'text', the encoded prompt; got "
                f"{named(observation)}"
            )
        batch = batch_size(observation["text"], "observation['text']")
        wanted = self._shapes(batch, observation)
        missing = self._taken() - observation.keys()
        if missing:
            raise ValueError(
                f"observation lacks {sorted(missing)}, which a transformer of "
                f"{self.release.task} takes; got {named(observation)}"
            )
        for name, given in observation.items():
            if name not in wanted:
                raise ValueError(unknown_name("part of observation", name, wanted))
            check_arrays(given, wanted[name], f"observation[{name!r}]")
        return batch

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """Normal random numbers of the right shapes: no encoder's, but they run."""
        shapes = self._shapes(batch, {})
        names = {"text", "negative_text", *self._taken()}
        keys = jax.random.split(key, len(names))
        return {
            name: jax.random.normal(k, shapes[name].shape)
            for name, k in zip(sorted(names), keys, strict=True)
        }

    def noise_struct(self, batch: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the sample."""
        shape = (batch, self.transformer.out_channels, *self.latent_size)
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def sized(self, struct: jax.ShapeDtypeStruct) -> WanModel:
        """See `jax_stepcache.network.protocol.OfSizes`."""
        frames, rows, columns = struct.shape[-3:]
        return replace(self, latent_size=(frames, rows, columns))

    def decode(self, sample: jax.Array) -> dict[str, jax.Array]:
        """The sample as it is: a latent, for a VAE."""
        return {"latent": sample}

    def tuned(self, budget: int) -> TunedSchedule:
        """No search has been made for the published sizes.

        Raises:
            ValueError: always, with what to use instead.
        """
        raise ValueError(
            f"{self.name} has no tuned schedules, neither of {budget} model calls nor "
            "of others; use cache='static' with a steps_mask of your own"
        )

    def calibrated(self, backend: str, num_steps: int) -> dict[str, Any]:
        """See `jax_stepcache.network.protocol.Calibrated`."""
        del num_steps
        return calibrated(self.release, backend)

    def _contexts(
        self, weights: Weights, text: jax.Array, image: jax.Array | None
    ) -> tuple[Context, ...]:
        names = self.experts.names if self.alone is None else (self.alone,)
        each = [weights[name] for name in names] if names else [weights]
        return tuple(
            bind(self.transformer, one).encode_prompt(text, image) for one in each
        )

    def _taken(self) -> set[str]:
        """What it is shown beside the prompts, whatever the film."""
        taken = set()
        if self.transformer.image_dim is not None:
            taken.add("image")
        if self.transformer.condition_channels:
            taken.add("beside")
        return taken

    def _shapes(
        self, batch: int, observation: Mapping[str, Any]
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """What may be shown, of the lengths that prompt and image have."""
        c = self.transformer

        def tokens(name: str, usual: int) -> int:
            shape = jnp.shape(observation[name]) if name in observation else ()
            return shape[1] if len(shape) == 3 else usual

        text = (batch, tokens("text", _TEXT_LEN), c.text_dim)
        shapes: dict[str, tuple[int, ...]] = {"text": text, "negative_text": text}
        if c.image_dim is not None:
            usual = c.pos_embed_seq_len or 257
            length = c.pos_embed_seq_len or tokens("image", usual)
            shapes["image"] = (batch, length, c.image_dim)
        if c.condition_channels:
            shapes["beside"] = (batch, c.condition_channels, *self.latent_size)
        if self.release.task == "ti2v":
            shapes["first"] = (batch, c.out_channels, 1, *self.latent_size[1:])
        if self.experts.names:
            shapes["guidance_scale_2"] = (batch,)
        return {
            name: jax.ShapeDtypeStruct(shape, jnp.float32)
            for name, shape in shapes.items()
        }


def model_of(release: WanRelease, size: Any = None, frames: Any = None) -> WanModel:
    """The model of a release.

    Args:
        release: the release.
        size: pixel (height, width); its own unless given.
        frames: pixel frames; its own unless given.

    Returns:
        The model.

    Raises:
        ValueError: for sizes that are no whole number of tokens.
    """
    height, width = release.size if size is None else size
    count = release.num_frames if frames is None else frames
    in_time, down, across = release.stride
    _, rows, cols = release.transformer.patch_size
    count = static_count("num_frames", count, 1)
    if rest := (count - 1) % in_time:
        raise ValueError(
            f"num_frames must be one more than a multiple of {in_time}, got {count}; "
            f"{count - rest} and {count - rest + in_time} are the nearest"
        )
    height, width = static_count("height", height, 1), static_count("width", width, 1)
    if height % (down * rows) or width % (across * cols):
        near = (_nearest(height, down * rows), _nearest(width, across * cols))
        raise ValueError(
            f"height and width must be multiples of {down * rows} and {across * cols}, "
            f"got {height} and {width}; {near[0]} and {near[1]} are the nearest"
        )
    latent = (1 + (count - 1) // in_time, height // down, width // across)
    return WanModel(release, latent)


def _nearest(length: int, step: int) -> int:
    return max(step, round(length / step) * step)
