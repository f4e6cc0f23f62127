"""A network of the user's own, as a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from jax_stepcache.network.called import check_takes
from jax_stepcache.network.protocol import Denoiser, SamplingDefaults
from jax_stepcache.network.stages import STAGES, has_stages, pair

# What a network in stages may offer beside them.
_OPTIONAL = (
    "modulated",
    "times",
    "shown",
    "spatial_axes",
    "calibrated",
    "guidance_at",
    "experts_meet_at",
    "embed_through",
    "block_lists",
    "attended",
    "lacking",
)


@dataclass(frozen=True)
class FunctionModel:
    """A user's denoiser, as a model: it is given noise and condition, nothing else.

    Attributes:
        function: the denoiser.
    """

    function: Denoiser
    defaults: SamplingDefaults = field(default=SamplingDefaults(shift=1.0))
    guided_outputs: tuple[str, ...] | None = None
    signal_output: str | None = None
    outputs: tuple[str, ...] | None = None

    def __eq__(self, other: object) -> bool:
        """Whether it is the same function, or an equal one."""
        if type(self) is not type(other) or not isinstance(other, FunctionModel):
            return False
        return self._compared() == other._compared()

    def __hash__(self) -> int:
        """The function's own; of one that has none, who it is."""
        return hash(self._compared())

    def _compared(self) -> tuple[Any, ...]:
        # Static, so it must have a hash: a dataclass that may be written to has none.
        who = self.function
        try:
            hash(who)
        except TypeError:
            who = id(who)
        outputs = self.guided_outputs, self.signal_output, self.outputs
        return who, self.defaults, *outputs

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def in_step(self) -> FunctionModel:
        """See `jax_stepcache.network.protocol.OfExperts`."""
        in_step = getattr(self.function, "in_step", None)
        return self if in_step is None else replace(self, function=in_step())

    def denoise(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """Calls the function; see `Model.denoise`."""
        return self.function(weights, sample, t, condition)


@dataclass(frozen=True, eq=False)
class StagedModel(FunctionModel):
    """A user's denoiser in stages, as a model; see `jax_stepcache.Stages`.

    Attributes:
        function: the denoiser, with the stages as its attributes.
    """

    function: Any

    @property
    def name(self) -> str:
        """The name of the stages' class."""
        return type(self.function).__name__

    def denoise(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """Calls the function, or its stages one after the other."""
        if callable(self.function):
            return self.function(weights, sample, t, condition)
        hidden, context = pair(self.function.embed(weights, sample, t, condition))
        blocks = self.function.num_blocks
        hidden = self.function.blocks(weights, hidden, context, 0, blocks)
        return self.function.head(weights, hidden, context)

    def __getattr__(self, name: str) -> Any:
        """The function's own stages; what it lacks is lacking here too."""
        if name in (*STAGES, *_OPTIONAL):
            return getattr(self.function, name)
        raise AttributeError(name)


@contextlib.contextmanager
def naming_rows(model: Any, sample: Any, condition: Any) -> Iterator[None]:
    """Says of an error in a user's network which arrays lack the rows of the sample.

    Args:
        model: the model; of others than a user's nothing is said.
        sample: what the network is given, pytree of [rows, ...] arrays.
        condition: likewise.

    Raises:
        ValueError: where the block raises one, or a `TypeError`, and there are any.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        rows = np.shape(jax.tree.leaves(sample)[0])[:1]
        others = {
            f"condition{jax.tree_util.keystr(path)}": np.shape(x)
            for path, x in jax.tree_util.tree_leaves_with_path(condition)
            if np.shape(x)[:1] != rows
        }
        if not others or not isinstance(model, FunctionModel):
            raise
        told = ", ".join(f"{name} has shape {shape}" for name, shape in others.items())
        raise ValueError(
            f"the model failed where the noise has {rows[0]} rows and {told}: {error}"
        ) from error


def own_model(function: Denoiser | None, noise: Any) -> FunctionModel:
    """Wraps a user's denoiser.

    Raises:
        TypeError: if there is no function.
        ValueError: if there is no noise, which sets the shapes.
    """
    if not (callable(function) or has_stages(function)):
        raise TypeError(
            "params are no Params of this library, so sample needs model=, your "
            "denoiser (params, sample, t, condition) -> velocity; got "
            f"{function!r}. Bundled weights come from load_params()"
        )
    if isinstance(function, type) and not has_stages(function):
        raise TypeError(f"model is {function!r}, a class; give an object of it")
    if callable(function) and not has_stages(function):
        check_takes("model", function)
    if noise is None:
        raise ValueError(
            "a model of your own needs noise=, the sample at the first sigma: its "
            "shapes are the result's"
        )
    return function_model(function)


def function_model(function: Any) -> FunctionModel:
    """Wraps a user's denoiser, with its stages where it has any."""
    return StagedModel(function) if has_stages(function) else FunctionModel(function)
