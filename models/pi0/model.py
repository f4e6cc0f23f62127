"""pi0 as a model of this library: what `sample` asks of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import batch_size, check_arrays
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.protocol import SamplingDefaults, TunedSchedule
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule

from ..checkpoints.part import published
from ..observations import named
from .network.config import Pi0Config
from .network.logical_axes import ROWS
from .network.parameters import bind, weight_shapes
from .network.pi0 import Pi0Condition, Stage
from .network.published import CONFIGS
from .pictures import as_seen

CAMERAS = ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb")
"""The pictures, in the order that the network sees them in."""


@dataclass(frozen=True)
class Pi0Model:
    """Implements `jax_stepcache.network.protocol.Model` over `Pi0`, and its stages.

    openpi's time is the library's sigma: 1 at the noise, 0 at the data, and its
    velocity noise minus actions. There is no guidance. What is cached between steps is
    the action expert's answer; pictures and prompt are read once, before the first.

    Attributes:
        config: the network's sizes.
        layout: where rows, heads and so on lie on a mesh, or None.
    """

    config: Pi0Config
    layout: Layout | None = None

    outputs = None
    guided_outputs = None
    signal_output = None
    defaults = SamplingDefaults(
        num_inference_steps=10, shift=1.0, guidance_scale=1.0, solver="euler"
    )

    @property
    def name(self) -> str:
        """Of the package, whichever of the two it is."""
        return "pi0"

    @property
    def num_blocks(self) -> int:
        """How many blocks the action expert has."""
        return self.config.expert.depth

    def usual_schedule(self, num_steps: int, shift: float) -> Schedule:
        """See `jax_stepcache.network.protocol.Leveled`: from 1, counted in float32."""
        sigmas = [np.float32(1)]
        for _ in range(num_steps):
            sigmas.append(sigmas[-1] - np.float32(1 / num_steps))
        # What rounding leaves at the end, the original does not look at.
        levels = np.array([*sigmas[:-1], 0.0], np.float64)
        levels = shift * levels / (1 + (shift - 1) * levels)
        return explicit_schedule(levels, 1000 * levels[:-1])

    def denoise(
        self, weights: Any, sample: jax.Array, t: jax.Array, condition: Pi0Condition
    ) -> jax.Array:
        """Predicts the velocity: all stages, one after the other.

        Args:
            weights: nested dict of arrays.
            sample: (rows, horizon, action_dim) float32.
            t: float32[rows] timesteps, 1000 at the noise.
            condition: as `prepare` made it.

        Returns:
            The velocity, like ``sample``.
        """
        hidden, stage = self.embed(weights, sample, t, condition)
        hidden = self.blocks(weights, hidden, stage, 0, self.num_blocks)
        return self.head(weights, hidden, stage)

    def embed(
        self, weights: Any, sample: jax.Array, t: jax.Array, condition: Pi0Condition
    ) -> tuple[jax.Array, Stage]:
        """See `jax_stepcache.Stages`: tokens of state and actions."""
        hidden, stage = bind(self.config, weights).embed(sample, t / 1000.0, condition)
        if self.layout is not None:
            hidden = self.layout.constrain(hidden, (ROWS, None, None))
        return hidden, stage

    def blocks(
        self, weights: Any, hidden: jax.Array, context: Stage, start: int, stop: int
    ) -> jax.Array:
        """Sends tokens through blocks ``start`` to ``stop - 1`` of the expert."""
        return bind(self.config, weights).run_blocks(hidden, context, start, stop)

    def head(self, weights: Any, hidden: jax.Array, context: Stage) -> jax.Array:
        """The velocity, (rows, horizon, action_dim) float32."""
        return bind(self.config, weights).head(hidden, context)

    def modulated(self, weights: Any, hidden: jax.Array, context: Stage) -> jax.Array:
        """What the attention of block 0 is shown, normalised; pi0.5's by the time."""
        return bind(self.config, weights).modulated(hidden, context)

    def prepare(
        self, weights: Any, observation: Mapping[str, Any], guided: bool
    ) -> Pi0Condition:
        """Reads pictures and prompt; see `Model.prepare`.

        Args:
            weights: nested dict of arrays.
            observation: see `check_observation`.
            guided: must be false.

        Returns:
            Keys and values, and the state.

        Raises:
            ValueError: under guidance, which openpi has none of.
        """
        if guided:
            raise ValueError(
                f"{self.name} has no unconditional branch; leave out guidance_scale"
            )
        network, size = bind(self.config, weights), self.config.image_size
        pictures = [as_seen(observation["image"][name], size) for name in CAMERAS]
        there = observation.get("image_mask", {})
        rows = jnp.ones(len(observation["state"]), bool)
        prefix = network.embed_prefix(
            pictures,
            [there.get(name, rows) for name in CAMERAS],
            observation["tokenized_prompt"],
            observation["tokenized_prompt_mask"],
        )
        _, cache = network.read_prefix(prefix)
        return Pi0Condition(cache, prefix.mask, observation["state"])

    def check_observation(self, observation: Any) -> int:
        """See `Model.check_observation`.

        Args:
            observation: openpi's: ``image``, of each of `CAMERAS` (B, H, W, 3), uint8
                or float32 in [-1, 1]; ``image_mask``, of any of them bool (B,), whether
                there is one; ``state`` float32 (B, action_dim), normalised;
                ``tokenized_prompt`` int32 (B, max_token_len) and
                ``tokenized_prompt_mask``, bool.

        Returns:
            B.
        """
        c = self.config
        wanted = {"image", "state", "tokenized_prompt", "tokenized_prompt_mask"}
        names = set(observation) if isinstance(observation, Mapping) else set()
        if not wanted <= names <= wanted | {"image_mask"}:
            raise ValueError(
                f"observation is {named(observation)}; the model takes "
                f"{sorted(wanted)} and, if pictures are missing, 'image_mask'"
            )
        batch = batch_size(observation["state"], "observation['state']")
        shapes = {
            "state": ((batch, c.action_dim), jnp.float32),
            "tokenized_prompt": ((batch, c.max_token_len), jnp.int32),
            "tokenized_prompt_mask": ((batch, c.max_token_len), jnp.bool_),
        }
        for name, struct in shapes.items():
            check_arrays(
                observation[name],
                jax.ShapeDtypeStruct(*struct),
                f"observation[{name!r}]",
            )
        _check_cameras(observation["image"], "image", set(CAMERAS))
        for name, picture in observation["image"].items():
            _check_picture(picture, batch, f"observation['image'][{name!r}]")
        masks = observation.get("image_mask", {})
        _check_cameras(masks, "image_mask", set())
        for name, mask in masks.items():
            struct = jax.ShapeDtypeStruct((batch,), jnp.bool_)
            check_arrays(mask, struct, f"observation['image_mask'][{name!r}]")
        return batch

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, Any]:
        """Grey pictures, a short prompt of any words, a random state."""
        c = self.config
        grey = jnp.zeros((batch, c.image_size, c.image_size, 3))
        length = min(4, c.max_token_len)
        words = jnp.broadcast_to(
            jnp.arange(c.max_token_len) < length, (batch, c.max_token_len)
        )
        return {
            "image": dict.fromkeys(CAMERAS, grey),
            "state": jax.random.normal(key, (batch, c.action_dim)),
            "tokenized_prompt": words.astype(jnp.int32),
            "tokenized_prompt_mask": words,
        }

    def noise_struct(self, batch: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the sample."""
        shape = (batch, self.config.action_horizon, self.config.action_dim)
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def decode(self, sample: jax.Array) -> dict[str, jax.Array]:
        """The actions as they are, normalised."""
        return {"actions": sample}

    def tuned(self, budget: int) -> TunedSchedule:
        """No search has been made for the published sizes.

        Raises:
            ValueError: always, with what to use instead.
        """
        raise ValueError(
            f"{self.name} has no tuned schedules, neither of {budget} model calls nor "
            "of others; use cache='static' with a steps_mask of your own, or calibrate"
        )


def _check_cameras(given: Any, what: str, wanted: set[str]) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(
            f"observation[{what!r}] is {named(given)}; give a mapping from camera, of "
            f"{list(CAMERAS)}"
        )
    for name in given:
        if name not in CAMERAS:
            raise ValueError(unknown_name("camera", name, CAMERAS))
    if missing := wanted - given.keys():
        raise ValueError(
            f"observation[{what!r}] lacks {sorted(missing)}; of a robot without, give "
            "a black picture and an image_mask that is false"
        )


def _check_picture(picture: Any, batch: int, what: str) -> None:
    shape, dtype = np.shape(picture), getattr(picture, "dtype", None)
    fits = len(shape) == 4 and shape[0] == batch and shape[3] == 3 and all(shape)
    if not fits or dtype not in (jnp.uint8, jnp.float32):
        raise ValueError(
            f"{what} is {dtype}{list(shape)}; give uint8 or float32 in [-1, 1] of "
            f"[{batch}, rows, columns, 3]"
        )


def model_from_config(config: Mapping[str, Any]) -> Pi0Model:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    if set(config) != {"pi0"}:
        raise ValueError(unknown_name("pi0 config", sorted(config), ["pi0"]))
    return Pi0Model(Pi0Config.from_dict(config["pi0"]))


def config_of(model: Pi0Model) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    return {"pi0": asdict(model.config)}


def weights_struct(model: Pi0Model) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: Pi0Model) -> dict[str, int]:
    """How many heads a projection to heads has, as Gemma and SigLIP divide both."""
    c = model.config
    return {"heads": math.gcd(c.gemma.num_heads, c.vision.num_heads)}


def named_model(name: str) -> Pi0Model:
    """The model of a released size.

    Args:
        name: such as ``"pi0-droid"`` or ``"pi05-base"``.

    Returns:
        The model.

    Raises:
        ValueError: for an unknown name.
    """
    return Pi0Model(published("pi0 configuration", name, CONFIGS))


def with_dtype(model: Pi0Model, dtype: str) -> Pi0Model:
    """The model with activations of another dtype."""
    return replace(model, config=replace(model.config, dtype=dtype))
