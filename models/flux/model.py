"""FLUX as a model of this library: what `sample` and the pipeline ask of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import batch_size, check_arrays, static_count
from jax_stepcache.checkpoints.layers import is_apart
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.protocol import SamplingDefaults, TunedSchedule
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

from ..observations import named
from ..sizes.parameters import Weights
from .calibrated import calibrated
from .network.logical_axes import constrained
from .network.parameters import bind, weight_shapes
from .network.streams import Streams
from .network.transformer import Attended, Prompt, Stage
from .sizes import PATCH, FluxConfig, FluxRelease
from .times import flux_schedule, guidance_told, shift_of, told


class FluxCondition(NamedTuple):
    """What a picture is denoised under; arrays have a row for each of the sample's.

    Attributes:
        prompt: the encoded prompt.
        guidance: float32[B] scale that the network is told; None for one that is told
            none.
    """

    prompt: Prompt
    guidance: jax.Array | None = None


@dataclass(frozen=True)
class FluxModel:
    """Implements `jax_stepcache.network.protocol.Model` over `FluxTransformer`.

    `sample`'s ``guidance_scale`` is that of true guidance, with a negative prompt; the
    scale that dev is told is part of the observation.

    Attributes:
        release: the transformer's sizes and defaults.
        latent_size: rows and columns of the latent.
        layout: where rows, heads and so on lie on a mesh, or None.
    """

    release: FluxRelease
    latent_size: tuple[int, int]
    layout: Layout | None = None

    name = "flux"
    outputs = None
    guided_outputs = None
    signal_output = None
    # Rows and columns, for signals that look at the spectrum.
    spatial_axes = (2, 3)

    def __post_init__(self) -> None:
        """Checks that the latents are whole tokens.

        Raises:
            ValueError: if they are not.
        """
        if min(self.latent_size) < 1 or any(x % PATCH for x in self.latent_size):
            raise ValueError(
                f"latent_size is {self.latent_size}; it must be positive, with rows "
                f"and columns that are multiples of {PATCH}"
            )

    @property
    def transformer(self) -> FluxConfig:
        """The sizes of the transformer."""
        return self.release.transformer

    @property
    def tokens(self) -> int:
        """Tokens of the image."""
        rows, cols = self.latent_size
        return rows * cols // PATCH**2

    @property
    def defaults(self) -> SamplingDefaults:
        """The release's; `schedule` gives its own levels, and this their shift."""
        shift = math.exp(shift_of(self.tokens)) if self.release.shifted else 1.0
        return SamplingDefaults(
            num_inference_steps=self.release.num_inference_steps,
            shift=shift,
            guidance_scale=1.0,
            solver="euler",
        )

    def schedule(self, num_steps: int) -> Schedule:
        """The release's noise levels, for this size."""
        return flux_schedule(num_steps, self.tokens if self.release.shifted else None)

    def usual_schedule(self, num_steps: int, shift: float) -> Schedule:
        """See `jax_stepcache.network.protocol.Leveled`; the release's as it is."""
        if shift == self.defaults.shift:
            return self.schedule(num_steps)
        levels = np.asarray(flux_schedule(num_steps, None).sigmas)
        levels = shift * levels / (1 + (shift - 1) * levels)
        return explicit_schedule(levels, 1000 * levels[:-1])

    @property
    def num_blocks(self) -> int:
        """See `jax_stepcache.Stages`; so are the methods below."""
        return self.transformer.num_blocks

    @property
    def block_lists(self) -> tuple[int, int]:
        """See `jax_stepcache.network.stages.Listed`."""
        return self.transformer.num_layers, self.transformer.num_single_layers

    def denoise(
        self,
        weights: Weights,
        sample: jax.Array,
        t: jax.Array,
        condition: FluxCondition,
    ) -> jax.Array:
        """Predicts the velocity.

        Args:
            weights: nested dict of arrays.
            sample: (rows, C, H, W) float32.
            t: float32[rows] timesteps.
            condition: of as many rows.

        Returns:
            The velocity, like ``sample``.
        """
        hidden, stage = self.embed(weights, sample, t, condition)
        hidden = self.blocks(weights, hidden, stage, 0, self.num_blocks)
        return self.head(weights, hidden, stage)

    def embed(
        self,
        weights: Weights,
        sample: jax.Array,
        t: jax.Array,
        condition: FluxCondition,
    ) -> tuple[Streams, Stage]:
        """Tokens of image and text, and what else is read."""
        condition = constrained(self.layout, condition)
        dtype, scale = self.transformer.dtype, condition.guidance
        hidden, stage = bind(self.transformer, weights).embed(
            sample,
            told(t, dtype),
            condition.prompt,
            None if scale is None else guidance_told(scale, dtype),
        )
        return constrained(self.layout, hidden), stage

    def blocks(
        self, weights: Weights, hidden: Streams, context: Stage, start: int, stop: int
    ) -> Streams:
        """Sends tokens through blocks ``start`` to ``stop - 1``, double ones first."""
        network = bind(self.transformer, weights)
        return network.run_blocks(hidden, context, start, stop)[0]

    def attended(
        self,
        weights: Weights,
        hidden: Streams,
        context: Stage,
        given: Attended | None = None,
    ) -> tuple[Streams, Attended]:
        """See `jax_stepcache.network.stages.Attending`."""
        network = bind(self.transformer, weights)
        given = (
            None
            if given is None
            else jax.tree.map(_rows_first, given, is_leaf=is_apart)
        )
        hidden, said = network.run_blocks(hidden, context, attended=given)
        return hidden, jax.tree.map(_rows_first, said, is_leaf=is_apart)

    def head(self, weights: Weights, hidden: Streams, context: Stage) -> jax.Array:
        """The velocity, (rows, C, H, W) float32."""
        return bind(self.transformer, weights).decode(hidden, context)

    def modulated(self, weights: Weights, hidden: Streams, context: Stage) -> jax.Array:
        """Block 0's modulated input, (rows, tokens of the image, D)."""
        return bind(self.transformer, weights).modulated(hidden, context)

    def prepare(
        self, weights: Weights, observation: Mapping[str, jax.Array], guided: bool
    ) -> FluxCondition:
        """Puts the prompts side by side; see `Model.prepare`.

        Args:
            weights: nested dict of arrays.
            observation: ``text`` (B, tokens, joint_attention_dim) and ``pooled``
                (B, pooled_projection_dim); of a transformer that is told it
                ``guidance`` (B,), the release's scale unless given; under true
                guidance ``negative_text`` and ``negative_pooled`` of the same shapes.
            guided: adds as many rows with the negative prompt.

        Returns:
            The condition, of B or 2 B rows.

        Raises:
            ValueError: if guidance lacks its negative prompt.
        """
        del weights

        def rows(name: str) -> jax.Array:
            given = observation[name]
            if not guided:
                return given
            other = observation.get(f"negative_{name}")
            if other is None:
                raise ValueError(f"guidance needs observation['negative_{name}']")
            return jnp.concatenate([given, other])

        prompt, guidance = Prompt(rows("text"), rows("pooled")), None
        if self.transformer.guidance_embeds:
            scale = observation.get("guidance", self.release.guidance_scale)
            count = len(observation["text"])
            guidance = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (count,))
            guidance = jnp.concatenate([guidance] * (2 if guided else 1))
        return constrained(self.layout, FluxCondition(prompt, guidance))

    def check_observation(self, observation: Any) -> int:
        """See `Model.check_observation`."""
        if not isinstance(observation, Mapping) or "text" not in observation:
            raise ValueError(
                "observation must be a mapping with 'text' and 'pooled', the encoded "
                f"prompt; got {named(observation)}"
            )
        batch = batch_size(observation["text"], "observation['text']")
        if "pooled" not in observation:
            raise ValueError(
                "observation lacks 'pooled', the prompt as one vector; got "
                f"{named(observation)}"
            )
        wanted = self._shapes(batch, observation)
        for name, given in observation.items():
            if name not in wanted:
                raise ValueError(unknown_name("part of observation", name, wanted))
            check_arrays(given, wanted[name], f"observation[{name!r}]")
        return batch

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """Normal random numbers of the right shapes: no encoder's, but they run."""
        shapes = self._shapes(batch, {})
        names = ("text", "pooled", "negative_text", "negative_pooled")
        keys = jax.random.split(key, len(names))
        return {
            name: jax.random.normal(k, shapes[name].shape)
            for name, k in zip(names, keys, strict=True)
        }

    def noise_struct(self, batch: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the sample."""
        shape = (batch, self.transformer.channels, *self.latent_size)
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def decode(self, sample: jax.Array) -> dict[str, jax.Array]:
        """The sample as it is: a latent, for an autoencoder."""
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

    def _shapes(
        self, batch: int, observation: Mapping[str, Any]
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """What may be shown, of the length that the prompt has."""
        c = self.transformer
        given = jnp.shape(observation["text"]) if "text" in observation else ()
        length = given[1] if len(given) == 3 else self.release.text_len
        text: tuple[int, ...] = (batch, length, c.joint_attention_dim)
        pooled: tuple[int, ...] = (batch, c.pooled_projection_dim)
        shapes: dict[str, tuple[int, ...]] = {"text": text, "negative_text": text}
        shapes |= {"pooled": pooled, "negative_pooled": pooled}
        if c.guidance_embeds:
            shapes["guidance"] = (batch,)
        return {
            name: jax.ShapeDtypeStruct(shape, jnp.float32)
            for name, shape in shapes.items()
        }


def _rows_first(x: Any) -> Any:
    """[layers, rows, ...] to [rows, layers, ...] or back; layers apart as they are."""
    return x if is_apart(x) else x.swapaxes(0, 1)


def model_of(release: FluxRelease, size: Any = None) -> FluxModel:
    """The model of a release.

    Args:
        release: the release.
        size: pixel (height, width); its own unless given.

    Returns:
        The model.

    Raises:
        ValueError: for sizes that are no whole number of tokens.
    """
    step = release.stride * PATCH
    height, width = release.size if size is None else size
    height, width = static_count("height", height, 1), static_count("width", width, 1)
    if height % step or width % step:
        near = [max(step, round(x / step) * step) for x in (height, width)]
        raise ValueError(
            f"height and width must be multiples of {step}, got {height} and {width}; "
            f"{near[0]} and {near[1]} are the nearest"
        )
    return FluxModel(release, (height // release.stride, width // release.stride))


def model_from_config(config: Mapping[str, Any]) -> FluxModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    known = {"release", "latent_size"}
    for name in config:
        if name not in known:
            raise ValueError(unknown_name("FLUX config", name, known))
    release = dict(config["release"])
    transformer = FluxConfig.from_dict(release.pop("transformer"))
    release["size"] = tuple(release["size"])
    return FluxModel(FluxRelease(transformer, **release), tuple(config["latent_size"]))


def config_of(model: FluxModel) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    release = asdict(model.release)
    for how_it_is_run in ("unroll", "attention"):
        del release["transformer"][how_it_is_run]
    return {"release": release, "latent_size": list(model.latent_size)}


def weights_struct(model: FluxModel) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.transformer)


def axis_sizes(model: FluxModel) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.transformer.num_attention_heads}


def with_dtype(model: FluxModel, name: str) -> FluxModel:
    """The model with activations of another dtype."""
    transformer = replace(model.transformer, dtype=name)
    return replace(model, release=replace(model.release, transformer=transformer))
