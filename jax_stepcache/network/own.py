"""A network of the user's own, as a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jax_stepcache.network.protocol import Denoiser, SamplingDefaults
from jax_stepcache.network.stages import STAGES, has_stages


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

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def denoise(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """Calls the function; see `Model.denoise`."""
        return self.function(weights, sample, t, condition)


@dataclass(frozen=True)
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
        hidden, context = self.function.embed(weights, sample, t, condition)
        blocks = self.function.num_blocks
        hidden = self.function.blocks(weights, hidden, context, 0, blocks)
        return self.function.head(weights, hidden, context)

    def __getattr__(self, name: str) -> Any:
        """The function's own stages; what it lacks is lacking here too."""
        if name in (*STAGES, "modulated", "spatial_axes"):
            return getattr(self.function, name)
        raise AttributeError(name)


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
    if noise is None:
        raise ValueError(
            "a model of your own needs noise=, the sample at the first sigma: its "
            "shapes are the result's"
        )
    return function_model(function)


def function_model(function: Any) -> FunctionModel:
    """Wraps a user's denoiser, with its stages where it has any."""
    return StagedModel(function) if has_stages(function) else FunctionModel(function)
