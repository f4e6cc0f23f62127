"""The transformer as a model of this library: what `sample` asks of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import batch_size, check_arrays, fetched
from jax_stepcache.errors import unknown_name
from jax_stepcache.meshes.layout import Layout
from jax_stepcache.network.bundled import Bundled
from jax_stepcache.network.guidance import stack_branches
from jax_stepcache.network.protocol import (
    SamplingDefaults,
)
from jax_stepcache.network.tuned import TunedFile

from ..observations import require_parts
from .network.config import DiTConfig
from .network.logical_axes import ROWS
from .network.parameters import bind, weight_shapes
from .network.published import DIGITS
from .network.transformer import Context


@dataclass(frozen=True)
class DiTModel(Bundled):
    """Implements `jax_stepcache.network.protocol.Model` over `DiT`, and its stages.

    The network has SiT's convention: it says data minus noise at a time that is 1 at
    the data. The library's is ``x = (1 - sigma) * x0 + sigma * noise`` and ``velocity =
    noise - x0`` at ``t = 1000 * sigma``; so the network is asked at ``1 - t / 1000``,
    and the answer negated. Guidance mixes all channels; the original's sampler mixes
    three of the four.

    Attributes:
        config: the transformer's sizes.
        layout: where rows, heads and so on lie on a mesh, or None.
    """

    config: DiTConfig
    layout: Layout | None = None

    name = "dit"
    tuned_file = TunedFile(Path(__file__).with_name("tuned.json"))
    other_ways = f"{Bundled.other_ways}, or num_dit_steps 5 to 8"
    outputs = None
    guided_outputs = None
    signal_output = None
    spatial_axes = (1, 2)
    defaults = SamplingDefaults(
        num_inference_steps=16, shift=1.0, guidance_scale=1.5, solver="unipc"
    )

    @property
    def num_blocks(self) -> int:
        """How many blocks there are between `embed` and `head`."""
        return self.config.depth

    def denoise(
        self, weights: Any, sample: jax.Array, t: jax.Array, condition: jax.Array
    ) -> jax.Array:
        """Predicts the velocity: all stages, one after the other.

        Args:
            weights: nested dict of arrays.
            sample: (rows, H, W, C) float32.
            t: float32[rows] timesteps, 1000 * sigma.
            condition: int32[rows] labels.

        Returns:
            The velocity, like ``sample``.
        """
        hidden, context = self.embed(weights, sample, t, condition)
        hidden = self.blocks(weights, hidden, context, 0, self.num_blocks)
        return self.head(weights, hidden, context)

    def embed(
        self, weights: Any, sample: jax.Array, t: jax.Array, condition: jax.Array
    ) -> tuple[jax.Array, Context]:
        """The first stage: makes tokens.

        Args:
            weights: nested dict of arrays.
            sample: (rows, H, W, C) float32.
            t: float32[rows] timesteps.
            condition: int32[rows] labels.

        Returns:
            Tokens (rows, tokens, D), and what the other stages read beside them.

        Raises:
            ValueError: for other labels than one for each row.
        """
        rows, given = sample.shape[0], condition
        if np.shape(given) != (rows,) or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(
                f"condition is {given.dtype}{list(np.shape(given))}; the network takes "
                f"int32[{rows}], a label for each row, under guidance those of both "
                "branches. observation={'label': ...} makes them"
            )
        network = bind(self.config, weights)
        hidden, context = network.embed(sample, 1.0 - t / 1000.0, condition)
        if self.layout is not None:
            hidden = self.layout.constrain(hidden, (ROWS, None, None))
        return hidden, context

    def blocks(
        self, weights: Any, hidden: jax.Array, context: Context, start: int, stop: int
    ) -> jax.Array:
        """The second stage, or a part of it: blocks ``start`` to ``stop - 1``.

        Args:
            weights: nested dict of arrays.
            hidden: (rows, tokens, D).
            context: as `embed` made it.
            start: the first block; a Python integer, as is ``stop``.
            stop: the block after the last.

        Returns:
            Tokens like ``hidden``.
        """
        return bind(self.config, weights).run_blocks(hidden, context, start, stop)

    def head(self, weights: Any, hidden: jax.Array, context: Context) -> jax.Array:
        """The last stage: reads the velocity (rows, H, W, C) off the tokens."""
        return -bind(self.config, weights).decode(hidden, context)

    def modulated(self, weights: Any, hidden: jax.Array, context: Context) -> jax.Array:
        """What the attention of block 0 is shown, normalised and modulated.

        Args:
            weights: nested dict of arrays.
            hidden: (rows, tokens, D), as `embed` made it.
            context: likewise.

        Returns:
            Array like ``hidden``.
        """
        return bind(self.config, weights).modulated(hidden, context)

    def prepare(
        self, weights: Any, observation: Mapping[str, jax.Array], guided: bool
    ) -> jax.Array:
        """Makes the labels of all rows; see `Model.prepare`.

        Args:
            weights: not read.
            observation: ``label`` int32[B].
            guided: adds as many rows without a label.

        Returns:
            int32[B], or int32[2 * B] with the conditional rows first.
        """
        del weights
        label = jnp.asarray(observation["label"], jnp.int32)
        if not guided:
            return label
        return stack_branches(label, jnp.full_like(label, self.config.num_classes))

    def check_observation(self, observation: Any) -> int:
        """See `Model.check_observation`."""
        require_parts(observation, {"label"})
        label, what = observation["label"], "observation['label']"
        if not hasattr(label, "shape"):
            raise ValueError(
                f"{what} is a {type(label).__name__}; give an integer array of shape "
                "(B,)"
            )
        batch = batch_size(label, what)
        check_arrays(label, jax.ShapeDtypeStruct((batch,), jnp.int32), what)
        if isinstance(label, (Tracer, jax.ShapeDtypeStruct)):
            return batch
        numbers, classes = np.asarray(fetched(label)), self.config.num_classes
        wrong = numbers[(numbers < 0) | (numbers >= classes)]
        if wrong.size:
            raise ValueError(
                f"{what} has {wrong[0]}; the model's labels are 0 to {classes - 1}"
            )
        return batch

    def example(self, key: jax.Array, batch: int = 1) -> dict[str, jax.Array]:
        """Labels drawn at random."""
        return {"label": _draw_labels(key, batch, self.config.num_classes)}

    def noise_struct(self, batch: int) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the sample."""
        c = self.config
        shape = (batch, c.input_size, c.input_size, c.in_channels)
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def decode(self, sample: jax.Array) -> dict[str, jax.Array]:
        """Turns a sample into pictures.

        Args:
            sample: as sampled, (B, H, W, C).

        Returns:
            ``image`` float32[B, H, W, C] in [0, 1]; or, where the sample is not one of
            pixels, ``latent``, the sample as it is, for a VAE.
        """
        if not self.config.pixels:
            return {"latent": sample}
        return {"image": _as_pictures(sample)}

    @property
    def is_bundled(self) -> bool:
        """See `Bundled`."""
        return replace(self.config, dtype=DIGITS.dtype) == DIGITS


@jax.jit
def _as_pictures(sample: jax.Array) -> jax.Array:
    return jnp.clip((sample + 1.0) / 2.0, 0.0, 1.0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw_labels(key: jax.Array, batch: int, classes: int) -> jax.Array:
    return jax.random.randint(key, (batch,), 0, classes, jnp.int32)


def model_from_config(config: Mapping[str, Any]) -> DiTModel:
    """Makes the model that `config_of` described.

    Raises:
        ValueError: if the description is not of this model.
    """
    if set(config) != {"dit"}:
        raise ValueError(unknown_name("DiT config", sorted(config), ["dit"]))
    return DiTModel(DiTConfig.from_dict(config["dit"]))


def config_of(model: DiTModel) -> dict[str, Any]:
    """What `model_from_config` takes; JSON."""
    return {"dit": asdict(model.config)}


def weights_struct(model: DiTModel) -> Any:
    """Shapes and dtypes (float32) of the model's weights."""
    return weight_shapes(model.config)


def axis_sizes(model: DiTModel) -> dict[str, int]:
    """How many heads a projection to heads has."""
    return {"heads": model.config.num_heads}
