"""DreamZero as a model of this library: what `sample` and the pipeline ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import batch_size, check_arrays
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.protocol import SamplingDefaults, TunedSchedule

from ..layers.video_axes import constrained
from ..observations import named
from .network import stages
from .network.config import DreamZeroConfig
from .network.parameters import weight_shapes
from .network.published import Size
from .network.stages import DreamZeroCondition, Stage
from .session.observation import complete
from .session.session import observe, start

_PREDICTIONS = ("velocity", "sample")


@dataclass(frozen=True)
class DreamZeroModel:
    """Implements `jax_stepcache.network.protocol.Model` over `CausalWanModel`.

    Attributes:
        dit: the transformer's sizes.
        latent_size: rows and columns of a latent frame.
        prediction: what the transformer says: the ``"velocity"``, as the original's, or
            the clean ``"sample"``, of which the velocity is made.
        layout: where rows, heads and so on lie on a mesh, or None.
    """

    dit: DreamZeroConfig
    latent_size: tuple[int, int]
    prediction: str = "velocity"
    layout: Layout | None = None

    name = "dreamzero"
    outputs = ("action", "video")
    guided_outputs = ("video",)
    signal_output = "video"
    defaults = SamplingDefaults(
        num_inference_steps=16, shift=5.0, guidance_scale=5.0, solver="unipc"
    )
    smallest_sigma = 0.02
    # Frames, rows and columns of the video, for signals that look at its spectrum.
    spatial_axes = (2, 3, 4)

    def __post_init__(self) -> None:
        """Checks that the latents fit the transformer.

        Raises:
            ValueError: if they do not.
        """
        if self.prediction not in _PREDICTIONS:
            raise ValueError(unknown_name("prediction", self.prediction, _PREDICTIONS))
        _, rows, cols = self.dit.patch_size
        height, width = self.latent_size
        tokens = (height // rows) * (width // cols)
        if height % rows or width % cols or tokens != self.dit.frame_seqlen:
            raise ValueError(
                f"latent_size is {self.latent_size}; with patches of {(rows, cols)} a "
                f"frame must have {self.dit.frame_seqlen} tokens (frame_seqlen)"
            )

    @property
    def size(self) -> Size:
        """The transformer's sizes, and those of its latents."""
        return Size(self.dit, self.latent_size)

    def denoise(
        self,
        weights: Any,
        sample: Mapping[str, jax.Array],
        t: Mapping[str, jax.Array],
        condition: DreamZeroCondition,
    ) -> dict[str, jax.Array]:
        """Predicts the velocity.

        Args:
            weights: nested dict of arrays.
            sample: ``video`` (rows, C, frames, H, W) and ``action`` (rows, actions,
                components), float32.
            t: ``video`` and ``action``, float32[rows] timesteps, 1000 * sigma.
            condition: of as many rows.

        Returns:
            The velocities, like ``sample``.
        """
        hidden, stage = self.embed(weights, sample, t, condition)
        hidden = self.blocks(weights, hidden, stage, 0, self.num_blocks)
        return self.head(weights, hidden, stage)

    @property
    def num_blocks(self) -> int:
        """See `jax_stepcache.Stages`; so are the methods below."""
        return self.dit.num_layers

    def embed(
        self,
        weights: Any,
        sample: Mapping[str, jax.Array],
        t: Mapping[str, jax.Array],
        condition: DreamZeroCondition,
    ) -> tuple[jax.Array, Stage]:
        """Video, action and state tokens (rows, tokens, D), and what else is read."""
        condition = constrained(self.layout, condition)
        hidden, stage = stages.embed(self.dit, weights, sample, t, condition)
        return constrained(self.layout, hidden), stage

    def blocks(
        self, weights: Any, hidden: jax.Array, context: Stage, start: int, stop: int
    ) -> jax.Array:
        """Sends tokens through blocks ``start`` to ``stop - 1``."""
        return stages.blocks(self.dit, weights, hidden, context, start, stop)

    def head(
        self, weights: Any, hidden: jax.Array, context: Stage
    ) -> dict[str, jax.Array]:
        """The velocities of video and action."""
        said = stages.head(self.dit, weights, hidden, context)
        return self.velocity(said, context.sample, context.t)

    def modulated(self, weights: Any, hidden: jax.Array, context: Stage) -> jax.Array:
        """Block 0's modulated input, (rows, tokens, D)."""
        return stages.modulated(self.dit, weights, hidden, context)

    def velocity(
        self,
        said: Mapping[str, jax.Array],
        sample: Mapping[str, jax.Array],
        t: Mapping[str, jax.Array],
    ) -> dict[str, jax.Array]:
        """Makes the velocity of what the transformer says of a sample.

        Args:
            said: by output.
            sample: what it was shown.
            t: timesteps, each with the leading axes of its output.

        Returns:
            ``said``, or ``(sample - said) / sigma`` where it is the clean sample.
        """
        if self.prediction == "velocity":
            return dict(said)

        def of(name: str) -> jax.Array:
            sigma = jnp.maximum(t[name] / 1000.0, self.smallest_sigma)
            after = (1,) * (sample[name].ndim - sigma.ndim)
            return (sample[name] - said[name]) / sigma.reshape(*sigma.shape, *after)

        return {name: of(name) for name in self.outputs}

    def prepare(
        self, weights: Any, observation: Mapping[str, jax.Array], guided: bool
    ) -> DreamZeroCondition:
        """The condition of a session's first control step; see `Model.prepare`.

        Args:
            weights: nested dict of arrays.
            observation: ``text`` and ``negative_text`` (B, text_len, text_dim), the
                latter under guidance; the rest as in `Observation`, for robots that
                begin a window.
            guided: adds as many rows with the negative prompt.

        Returns:
            The condition, of B or 2 B rows.

        Raises:
            ValueError: if guidance lacks its negative prompt.
        """
        shown = dict(observation)
        text, negative = shown.pop("text"), shown.pop("negative_text", None)
        if guided and negative is None:
            raise ValueError("guidance needs observation['negative_text']")
        session = start(self.size, weights, text, negative if guided else None)
        beginning = complete(self.size, np.zeros(len(text), np.int32), shown)
        begun = observe(self.size, weights, session, beginning, self.layout)
        return begun.condition

    def check_observation(self, observation: Any) -> int:
        """See `Model.check_observation`."""
        if not isinstance(observation, Mapping) or "text" not in observation:
            raise ValueError(
                "observation must be a mapping with 'text', the encoded prompt, and "
                f"what DreamZeroPipeline is shown; got {named(observation)}"
            )
        shown = dict(observation)
        batch = batch_size(shown["text"], "observation['text']")
        c = self.dit
        struct = jax.ShapeDtypeStruct((batch, c.text_len, c.text_dim), jnp.float32)
        for name in ("text", "negative_text"):
            if (text := shown.pop(name, None)) is not None:
                check_arrays(text, struct, f"observation[{name!r}]")
        complete(self.size, np.zeros(batch, np.int32), shown)
        return batch

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """Normal random numbers of the right shapes: no encoder's, but they run."""
        c = self.dit
        text = (batch, c.text_len, c.text_dim)
        shapes: dict[str, tuple[int, ...]] = {
            "text": text,
            "negative_text": text,
            "state": (batch, c.num_state_per_block, c.max_state_dim),
        }
        if c.image_dim is not None:
            shapes["image"] = (batch, c.image_len, c.image_dim)
        name, channels, frames = "first", c.out_dim, 1
        if c.concat_first_frame_latent:
            name, channels, frames = "y", c.y_dim, c.window
        shapes[name] = (batch, channels, frames, *self.latent_size)
        return {
            name: jax.random.normal(k, shape)
            for (name, shape), k in zip(
                shapes.items(), jax.random.split(key, len(shapes)), strict=True
            )
        }

    def noise_struct(self, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of the sample."""
        c = self.dit
        video = (batch, c.out_dim, c.num_frame_per_block, *self.latent_size)
        action = (batch, c.num_action_per_block, c.action_dim)
        return {
            "action": jax.ShapeDtypeStruct(action, jnp.float32),
            "video": jax.ShapeDtypeStruct(video, jnp.float32),
        }

    def decode(self, sample: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The sample as it is: latents, for a VAE, and normalised actions."""
        return dict(sample)

    def tuned(self, budget: int) -> TunedSchedule:
        """No search has been made for the published sizes.

        Raises:
            ValueError: always, with what to use instead.
        """
        raise ValueError(
            f"{self.name} has no tuned schedules, neither of {budget} model calls nor "
            "of others; use cache='static' with a steps_mask of your own, or "
            "num_dit_steps 5 to 8"
        )


def model_from_config(config: Mapping[str, Any]) -> DreamZeroModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    known = {"dit", "latent_size", "prediction"}
    for name in config:
        if name not in known:
            raise ValueError(unknown_name("DreamZero config", name, known))
    return DreamZeroModel(
        DreamZeroConfig.from_dict(config["dit"]),
        tuple(config["latent_size"]),
        config.get("prediction", "velocity"),
    )


def config_of(model: DreamZeroModel) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    sizes = asdict(model.dit)
    for how_it_is_run in ("unroll", "attention"):
        del sizes[how_it_is_run]
    return {
        "dit": sizes,
        "latent_size": list(model.latent_size),
        "prediction": model.prediction,
    }


def weights_struct(model: DreamZeroModel) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.dit)


def axis_sizes(model: DreamZeroModel) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.dit.num_heads}
