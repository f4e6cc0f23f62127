"""Networks that say something else than the velocity of a flow.

A network was trained on ``alpha * x0 + s * noise``, and says the noise, the clean
sample, or a mixture of both. Divided by ``alpha + s``, that sample is one of a straight
flow at ``sigma = s / (alpha + s)``, whose velocity is ``noise - x0``. So every solver,
schedule and cache goes with it: signals and forecasts are those of that velocity.
Solvers of the x0-prediction in log-SNR make the same samples either way.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_numbers, check_shapes_of, static_count
from jax_stepcache.errors import unknown_name
from jax_stepcache.network.called import asking
from jax_stepcache.policy.forecasts.base import wide
from jax_stepcache.solvers.schedule import Schedule, explicit_schedule, flow_schedule
from jax_stepcache.solvers.spacings import karras_schedule

PREDICTS = ("epsilon", "sample", "v_prediction")
"""What networks say, by diffusers' names: the noise, the clean sample, or ``alpha *
noise - s * x0``."""


class Noising(Protocol):
    """How samples were noised when a network was trained."""

    def levels(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Signal and noise, ``alpha`` and ``s``, at what a schedule tells."""
        ...


@dataclass(frozen=True)
class Predicting:
    """A denoiser, as `sample` takes it, of a network that says something else.

    Attributes:
        network: ``(params, sample, t, condition)`` to what it says, over arrays.
        noising: how it was trained.
        predicts: what it says; or a function of that, of the sample, and of signal and
            noise as they broadcast with it, to the clean sample and the noise.
    """

    network: Callable[..., Any]
    noising: Any
    predicts: Any

    def __call__(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The velocity; see `Denoiser`."""
        alpha, s = self.noising.levels(t)

        def of(level: jax.Array, x: jax.Array) -> jax.Array:
            return level.reshape(-1, *(1,) * (x.ndim - 1))

        own = jax.tree.map(lambda x: of(alpha + s, x) * wide(x), sample)
        if self.predicts == "edm":
            # The network sees a unit variance and the logarithm of the noise.
            data = self.noising.sigma_data
            spread = jnp.sqrt(s**2 + data**2)
            seen = jax.tree.map(lambda x: x / of(spread, x), own)
            seen = jax.tree.map(lambda x, like: x.astype(like.dtype), seen, sample)
            with asking(_name(self.network), seen, condition):
                said = self.network(params, seen, jnp.log(s) / 4, condition)
        else:
            spread, data = s, 1.0
            seen = jax.tree.map(lambda x, like: x.astype(like.dtype), own, sample)
            with asking(_name(self.network), seen, condition):
                said = self.network(params, seen, t, condition)

        check_shapes_of(sample, said, "the network's answer")

        def velocity(x: jax.Array, said: jax.Array, like: jax.Array) -> jax.Array:
            a, b, said = of(alpha, x), of(s, x), wide(said)
            if callable(self.predicts):
                says: Any = self.predicts
                x0, noise = says(said, x, a, b)
            elif self.predicts == "epsilon":
                noise, x0 = said, (x - b * said) / a
            elif self.predicts == "sample":
                noise, x0 = (x - a * said) / b, said
            elif self.predicts == "v_prediction":
                # Where signal and noise are no sine and cosine, over their square sum.
                whole = a**2 + b**2
                noise, x0 = (a * said + b * x) / whole, (a * x - b * said) / whole
            else:
                wide_of = of(spread, x)
                x0 = (data / wide_of) ** 2 * x + b * data / wide_of * said
                noise = (x - x0) / b
            return (noise - x0).astype(like.dtype)

        return jax.tree.map(velocity, own, said, sample)


@dataclass(frozen=True)
class VPDiffusion:
    """Variance-preserving noise in discrete steps, as Stable Diffusion has it.

    Ho et al. 2020, "Denoising Diffusion Probabilistic Models"; the names are those of
    diffusers' schedulers.

    Attributes:
        beta_schedule: ``"scaled_linear"``, ``"linear"`` or ``"squaredcos_cap_v2"``.
        beta_start: of the first two, the first beta.
        beta_end: likewise, the last one.
        num_train_timesteps: steps of the training.
    """

    beta_schedule: str = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: for what does not fit.
        """
        if self.beta_schedule not in _BETAS:
            raise ValueError(unknown_name("beta_schedule", self.beta_schedule, _BETAS))
        for name in ("beta_start", "beta_end"):
            check_numbers(name, getattr(self, name), above=0, most=1)
        static_count("num_train_timesteps", self.num_train_timesteps, 1)

    def levels(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Noising.levels`; ``t`` counts training steps from 0."""
        kept, at = np.asarray(_kept(self)), jnp.round(t).astype(jnp.int32)
        # In float32 hardly anything would be left of 1 less what is nearly 1.
        alpha, s = (jnp.asarray(np.sqrt(x), jnp.float32)[at] for x in (kept, 1 - kept))
        return alpha, s

    def schedule(self, num_steps: int, spacing: str = "linspace") -> Schedule:
        """The schedule of so many steps, with what the network is told.

        Args:
            num_steps: number of solver steps.
            spacing: ``"linspace"`` or ``"trailing"``, as for diffusers' multistep
                solvers.

        Returns:
            The schedule, to 0.

        Raises:
            ValueError: for a count below 1 or above the steps of the training, or
                another spacing.
        """
        told = training_steps(num_steps, self.num_train_timesteps, spacing)
        kept = np.asarray(_kept(self))[told.astype(int)]
        return of_levels(np.sqrt(kept), np.sqrt(1 - kept), told)

    def start(self, noise: Any, schedule: Schedule) -> Any:
        """The first sample, of standard normal numbers; see `sample`'s ``noise``."""
        return started(noise, schedule)

    def denoiser(self, network: Callable[..., Any], predicts: str) -> Predicting:
        """The denoiser of a network.

        Args:
            network: ``(params, sample, t, condition)`` to what it says. It sees the
                sample that it was trained on.
            predicts: one of ``PREDICTS``.

        Returns:
            What `sample` takes as ``model``.

        Raises:
            ValueError: for another name.
        """
        return _predicting(network, self, predicts, PREDICTS)


@dataclass(frozen=True)
class EDMDiffusion:
    """Noise that is scaled up, and a preconditioned network.

    Karras et al. 2022, "Elucidating the Design Space of Diffusion-Based Generative
    Models"; diffusers' `EDMDPMSolverMultistepScheduler`.

    Attributes:
        sigma_data: spread of the data.
        sigma_min: the lowest noise of a schedule, before 0.
        sigma_max: the highest one.
        rho: see `karras_schedule`.
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: for what does not fit.
        """
        for name in ("sigma_data", "sigma_min", "sigma_max", "rho"):
            check_numbers(name, getattr(self, name), above=0)
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sigma_min is {self.sigma_min} and sigma_max {self.sigma_max}; noise "
                "falls"
            )

    def levels(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Noising.levels`; ``t`` is the noise itself."""
        return jnp.ones_like(t), t

    def schedule(self, num_steps: int) -> Schedule:
        """The schedule of so many steps.

        Args:
            num_steps: number of solver steps.

        Returns:
            The schedule, to 0; its timesteps are levels of noise.

        Raises:
            ValueError: for a count below 1.
        """
        least = self.sigma_min / self.sigma_max
        even = karras_schedule(num_steps, sigma_min=least, rho=self.rho).sigmas[:-1]
        noise = np.array(even) * self.sigma_max
        return of_levels(np.ones_like(noise), noise, noise)

    def start(self, noise: Any, schedule: Schedule) -> Any:
        """The first sample, of standard normal numbers; see `sample`'s ``noise``."""
        return started(noise, schedule)

    def denoiser(
        self, network: Callable[..., Any], predicts: str = "edm"
    ) -> Predicting:
        """The denoiser of a network.

        Args:
            network: ``(params, sample, t, condition)`` to what it says. It sees a
                sample of unit variance and a fourth of the noise's logarithm.
            predicts: ``"edm"``: what is to be scaled and added to the sample.

        Returns:
            What `sample` takes as ``model``.

        Raises:
            ValueError: for another name.
        """
        return _predicting(network, self, predicts, ("edm",))


@dataclass(frozen=True)
class FlowMatching:
    """A straight flow, of a network that says the noise or the clean sample."""

    def levels(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Noising.levels`; ``t`` is ``1000 * sigma``."""
        return 1 - t / 1000, t / 1000

    def schedule(self, num_steps: int, shift: float = 1.0) -> Schedule:
        """`flow_schedule`, with timesteps that are not truncated."""
        sigmas = flow_schedule(num_steps, shift).sigmas
        return explicit_schedule(sigmas, np.array(sigmas[:-1]) * 1000)

    def start(self, noise: Any, schedule: Schedule) -> Any:
        """The first sample: the noise itself."""
        del schedule
        return noise

    def denoiser(self, network: Callable[..., Any], predicts: str) -> Predicting:
        """See `VPDiffusion.denoiser`; of flows, ``"epsilon"`` or ``"sample"``."""
        return _predicting(network, self, predicts, PREDICTS[:2])


def training_steps(num_steps: int, last: int, spacing: str) -> np.ndarray:
    """Which steps of a training are asked, as diffusers' multistep solvers choose them.

    Args:
        num_steps: how many.
        last: how many there were.
        spacing: ``"linspace"`` or ``"trailing"``.

    Returns:
        float64[num_steps], falling.

    Raises:
        ValueError: for a count below 1 or above ``last``, or another spacing.
    """
    count = static_count("num_steps", num_steps, 1)
    if count > last:
        raise ValueError(
            f"num_steps is {num_steps}, and there are {last} training timesteps"
        )
    if spacing == "linspace" and count == last:
        # One more than there are is rounded, and falls on one of them twice.
        raise ValueError(
            f"num_steps is {num_steps}, all there are of the training, and spacing "
            "'linspace' takes one of them twice; spacing='trailing' takes each once"
        )
    if spacing == "linspace":
        return np.linspace(0, last - 1, count + 1).round()[::-1][:-1]
    if spacing == "trailing":
        return np.round(last - last / count * np.arange(count)) - 1
    raise ValueError(unknown_name("spacing", spacing, ("linspace", "trailing")))


def _predicting(network: Any, noising: Any, predicts: Any, known: Any) -> Predicting:
    if predicts not in known:
        raise ValueError(unknown_name("prediction", predicts, known, _ELSEWHERE))
    return Predicting(network, noising, predicts)


def of_levels(alpha: np.ndarray, s: np.ndarray, told: np.ndarray) -> Schedule:
    """A schedule to 0 through these levels of signal and noise."""
    return explicit_schedule(np.append(s / (alpha + s), 0.0), told)


def started(noise: Any, schedule: Schedule) -> Any:
    """The first sample of a schedule, of standard normal numbers."""
    first = schedule.sigmas[0]
    # Data of unit variance and so much noise, over signal and noise.
    scale = math.hypot(first, 1 - first)
    return jax.tree.map(lambda x: (scale * wide(x)).astype(x.dtype), noise)


def _name(network: Any) -> str:
    return getattr(network, "__name__", type(network).__name__)


def _linear(one: VPDiffusion) -> np.ndarray:
    return np.linspace(one.beta_start, one.beta_end, one.num_train_timesteps)


def _scaled_linear(one: VPDiffusion) -> np.ndarray:
    ends = math.sqrt(one.beta_start), math.sqrt(one.beta_end)
    return np.linspace(*ends, one.num_train_timesteps) ** 2


def _cosine(one: VPDiffusion) -> np.ndarray:
    at = np.arange(one.num_train_timesteps + 1) / one.num_train_timesteps
    left = np.cos((at + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - left[1:] / left[:-1], 0.999)


_BETAS = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "squaredcos_cap_v2": _cosine,
}
_ELSEWHERE = {
    **dict.fromkeys(("eps", "noise", "epsilonprediction"), "epsilon"),
    **dict.fromkeys(("x0", "xstart", "predxstart", "x0prediction"), "sample"),
    **dict.fromkeys(("v", "vpred", "velocity"), "v_prediction"),
}


@functools.lru_cache(maxsize=32)
def _kept(one: VPDiffusion) -> tuple[float, ...]:
    """The square of the signal that is left at each training step."""
    return tuple(np.cumprod(1 - _BETAS[one.beta_schedule](one)).tolist())
