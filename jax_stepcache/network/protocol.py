"""What a model offers the sampler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax

# (params, sample, t, condition) -> velocity, over pytrees of [batch, ...] arrays.
Denoiser = Callable[[Any, Any, Any, Any], Any]


class SamplingDefaults(NamedTuple):
    """What `sample` uses where the caller says nothing.

    Attributes:
        num_inference_steps: solver steps.
        shift: timestep shift of the schedule.
        guidance_scale: 1 runs the conditional branch only.
        solver: name of the solver.
    """

    num_inference_steps: int = 16
    shift: float = 5.0
    guidance_scale: float = 1.0
    solver: str = "unipc"


class TunedSchedule(NamedTuple):
    """A schedule and forecasts that a search found for a number of model calls.

    Attributes:
        steps: the steps that run.
        num_steps: of how many.
        forecast: the `Forecast` of each output.
        holds_for: options of `sample` that it was found with, such as the guidance
            scale; those that are not in it had the model's defaults.
    """

    steps: tuple[int, ...]
    num_steps: int
    forecast: dict[str, Any]
    holds_for: Mapping[str, Any] = MappingProxyType({})


class TunedTable(NamedTuple):
    """A table that a fit found for a number of model calls.

    Attributes:
        tables: a `SolverTable`, or one for each output; or a `TableFamily`.
        num_steps: of the sampler that it stands for.
        wins: whether it came nearer to that one than the tuned schedule of as many
            calls, on samples that neither was found on.
        holds_for: see `TunedSchedule`; of a family of tables without the option that
            they are over.
    """

    tables: Any
    num_steps: int
    wins: bool
    holds_for: Mapping[str, Any] = MappingProxyType({})


class OptimisedLevels(NamedTuple):
    """A schedule that a fit found for a number of plain steps.

    Attributes:
        schedule: a `Schedule`, or one for each output.
        solver: the name of the solver that it was found for.
    """

    schedule: Any
    solver: str


class Part(Protocol):
    """A network that has weights and is not sampled: an encoder, a VAE.

    Hashable and static, as a `Model` is. Its package offers what `load_params`,
    `save_params` and meshes need, as that of a model does.
    """

    @property
    def name(self) -> str:
        """The name of its package."""
        ...


class Model(Protocol):
    """A model that is sampled by name. Hashable and static; its functions are pure.

    Flow matching throughout: ``x = (1 - sigma) * x0 + sigma * noise`` and
    ``velocity = noise - x0``.
    """

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def defaults(self) -> SamplingDefaults:
        """The model's sampling defaults."""
        ...

    @property
    def guided_outputs(self) -> tuple[str, ...] | None:
        """Outputs that guidance mixes; None for all."""
        ...

    @property
    def signal_output(self) -> str | None:
        """The output StepCache looks at; None for the lowest cosine over all."""
        ...

    @property
    def outputs(self) -> tuple[str, ...] | None:
        """Names of the outputs where the sample is a mapping, else None.

        Each has a schedule of its own, and ``t`` is a mapping with these names.
        """
        ...

    def denoise(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The network.

        Args:
            weights: nested dict of arrays.
            sample: pytree of [rows, ...] arrays.
            t: float32[rows] timesteps; a mapping of such where ``outputs`` has names.
            condition: what `prepare` made. Under guidance the rows are 2 * batch, the
                conditional ones first.

        Returns:
            The velocity, in the sample's structure and shapes.
        """
        ...

    def prepare(self, weights: Any, observation: Any, guided: bool) -> Any:
        """Makes the condition of a whole generation from an observation.

        Args:
            weights: nested dict of arrays.
            observation: pytree of [batch, ...] arrays.
            guided: whether to add the rows of the unconditional branch.

        Returns:
            The condition, computed once and read at every step.
        """
        ...

    def check_observation(self, observation: Any) -> int:
        """Checks an observation's structure, shapes and dtypes.

        Returns:
            Its batch size.

        Raises:
            ValueError: if something is wrong, naming it.
        """
        ...

    def example(self, key: jax.Array, batch: int = 1) -> Any:
        """Makes an observation to try the model on."""
        ...

    def noise_struct(self, batch: int) -> Any:
        """Shapes and dtypes of the sample: pytree of `jax.ShapeDtypeStruct`."""
        ...

    def decode(self, sample: Any) -> Any:
        """Turns a sample into what people look at: frames, actions in world units."""
        ...

    def tuned(self, budget: int) -> TunedSchedule:
        """The tuned schedule for a number of model calls.

        Raises:
            ValueError: if there is none, naming the budgets that there are.
        """
        ...


class Tabled(Protocol):
    """A model for which tables have been fitted; optional beside `Model`."""

    def bespoke(self, budget: int) -> TunedTable:
        """The table of a number of model calls.

        Raises:
            ValueError: if there is none, naming the budgets that there are.
        """
        ...


class Spaced(Protocol):
    """A model for which noise levels have been fitted; optional beside `Model`."""

    def optimised(self, num_steps: int) -> OptimisedLevels:
        """The noise levels of a number of plain steps.

        Raises:
            ValueError: if there are none, naming the numbers that there are.
        """
        ...


class Leveled(Protocol):
    """A model with noise levels of its own; optional beside `Model`."""

    def usual_schedule(self, num_steps: int, shift: float) -> Any:
        """The `Schedule` that is sampled by where nobody names another.

        Args:
            num_steps: solver steps.
            shift: timestep shift.

        Returns:
            The schedule.
        """
        ...


class Calibrated(Protocol):
    """A model for which caches have been calibrated; optional beside `Model`."""

    def calibrated(self, backend: str, num_steps: int) -> dict[str, Any]:
        """Settings of a backend that were found for this model; empty if none were.

        Args:
            backend: such as ``"tea_cache"``.
            num_steps: the schedule's step count.

        Returns:
            Settings by the names of `DiffusionCacheConfig`.
        """
        ...


class GuidedByNoise(Protocol):
    """A model whose guidance depends on the noise level; optional beside `Model`."""

    def guidance_at(self, scale: jax.Array, t: Any, condition: Any) -> jax.Array:
        """The guidance scale of each sample where it stands.

        Args:
            scale: what was asked for, float32 scalar or float32[batch].
            t: see `Model.denoise`, of the rows of both branches.
            condition: likewise.

        Returns:
            float32[batch].
        """
        ...


class OfSizes(Protocol):
    """A model that is made for samples of one size, and can be for others; optional."""

    def sized(self, struct: Any) -> Any:
        """The same model for samples of another size.

        Args:
            struct: `jax.ShapeDtypeStruct` of them, [batch, ...], or a pytree.

        Returns:
            The model; weights are the same.

        Raises:
            ValueError: for a size that it cannot be made for.
        """
        ...


class OfExperts(Protocol):
    """A model of two networks, one of which is asked at a step; optional likewise."""

    @property
    def experts_meet_at(self) -> float | None:
        """The sigma from which on, upwards, the high-noise one is asked.

        None where there is only one network after all.
        """
        ...

    def expert_at(self, t: float) -> str:
        """The name of the network that is asked at a timestep, among the weights'.

        For `jax_stepcache.sampling.sample_by_experts`.
        """
        ...

    def in_step(self) -> Any:
        """The same, for rows that are always at one timestep, so one network is asked.

        Where rows may differ, what one network says must be kept beside what the other
        is given. A cache that looks inside asks between the stages, where that is much.
        """
        ...
