"""`as_flow`: a network that was trained on any noise, as a denoiser of a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import (
    check_floating,
    check_leaves,
    check_numbers,
    described,
)
from jax_stepcache.errors import brief, naming_arguments, unknown_name
from jax_stepcache.network.called import check_takes
from jax_stepcache.network.parametrisation import (
    EDMDiffusion,
    FlowMatching,
    Predicting,
    VPDiffusion,
    of_levels,
    started,
    training_steps,
)
from jax_stepcache.policy.forecasts.base import wide
from jax_stepcache.solvers.schedule import Schedule

# What `as_flow` is told, and what `Predicting` calls it.
_SAYS = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample", "edm": "edm"}
_ELSEWHERE = {
    **dict.fromkeys(("eps", "noise", "epsilonprediction"), "epsilon"),
    **dict.fromkeys(("sample", "xstart", "predxstart", "x0prediction"), "x0"),
    **dict.fromkeys(("vprediction", "vpred"), "v"),
    **dict.fromkeys(("karras", "precond", "edmprecond"), "edm"),
}
_KNOWN = VPDiffusion | EDMDiffusion | FlowMatching


@dataclass(frozen=True, eq=False)
class Rates:
    """Signal and noise at each time: by a function of it, or one for each step.

    Attributes:
        function: from float32 times to both; None where they are listed.
        listed: float64[2, steps], by the step of the training; or None.
    """

    function: Callable[[Any], tuple[Any, Any]] | None = None
    listed: np.ndarray | None = field(default=None, repr=False)

    def levels(self, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """See `Noising.levels`."""
        if self.function is not None:
            alpha, s = (jnp.asarray(x, jnp.float32) for x in self.function(t))
            return jnp.broadcast_to(alpha, t.shape), jnp.broadcast_to(s, t.shape)
        at = jnp.round(t).astype(jnp.int32)
        alpha, s = jnp.asarray(self.listed, jnp.float32)
        return alpha[at], s[at]

    def exactly(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same on the host, as exact as the rates are given."""
        if self.listed is not None:
            # As `levels`: the network runs at the nearest that is listed.
            return tuple(self.listed[:, np.round(times).astype(int)])
        # All times in one array, as the loop asks; in NumPy's, which are exact.
        pair: Any = ()
        if self.function is not None:
            try:
                pair = self.function(times)
            except AttributeError:  # Of what only JAX's arrays have.
                pair = self.function(jnp.asarray(times, jnp.float32))
        pair = jax.device_get(pair)
        alpha, s = (
            np.broadcast_to(np.asarray(x, np.float64), times.shape) for x in pair
        )
        return alpha, s


@dataclass(frozen=True, eq=False)
class Flow:
    """A network that says something else, as a denoiser of a straight flow.

    What `sample` takes as ``model``; see `as_flow`.

    Attributes:
        denoiser: the denoiser.
    """

    denoiser: Predicting

    def __call__(self, params: Any, sample: Any, t: Any, condition: Any) -> Any:
        """The velocity of the flow."""
        return self.denoiser(params, sample, t, condition)

    @property
    def needs_schedule(self) -> bool:
        """Whether times and first sample are its own, and must be given."""
        return not isinstance(self.denoiser.noising, FlowMatching)

    def schedule(self, steps: Any, spacing: str = "linspace") -> Schedule:
        """The schedule, with what the network is told.

        Args:
            steps: an int, how many, where the rates have so many; or the times
                themselves, numbers in the order of the sampling.
            spacing: of how many, ``"linspace"`` or ``"trailing"``; see `VPDiffusion`.

        Returns:
            The schedule, to no noise at all.

        Raises:
            ValueError: for a count that there is not; for times at which the network's
                answer says nothing, or between which noise does not fall.
            TypeError: for a count where the rates are a function of any time.
        """
        rates = self.denoiser.noising
        counted = isinstance(self.denoiser.noising, VPDiffusion)
        counted = counted or getattr(rates, "listed", None) is not None
        if spacing != "linspace" and not counted:
            raise ValueError(
                f"spacing is {spacing!r}, and goes with rates of training steps, which "
                "VPDiffusion(...) and two lists have; leave it out"
            )
        if np.ndim(steps) == 0 and not isinstance(rates, Rates):
            more = [spacing] if isinstance(rates, VPDiffusion) else []
            return rates.schedule(steps, *more)
        if np.ndim(steps) == 0:
            if rates.listed is None:
                raise TypeError(
                    f"steps is {steps!r}, and the rates are a function of time: give "
                    "the times, such as np.linspace(1, 0, 21)[:-1]"
                )
            steps = training_steps(steps, rates.listed.shape[1], spacing)
        check_numbers("steps", steps, shape=(None,))
        times = np.asarray(steps, np.float64)
        if isinstance(rates, Rates):
            if rates.listed is not None:
                last = rates.listed.shape[1] - 1
                check_numbers("steps", times, shape=(None,), least=0, most=last)
            alpha, s = rates.exactly(times)
        else:
            if isinstance(rates, VPDiffusion):
                last = rates.num_train_timesteps - 1
                check_numbers("steps", times, shape=(None,), least=0, most=last)
            levels = rates.levels(jnp.asarray(times, jnp.float32))
            alpha, s = (np.asarray(x, np.float64) for x in levels)
        self._check(times, alpha, s)
        return of_levels(alpha, s, times)

    def start(self, noise: Any, schedule: Schedule) -> Any:
        """The first sample, of standard normal numbers; see `sample`'s ``noise``."""
        check_leaves(noise, "noise")
        check_floating(noise, "noise")
        if not isinstance(schedule, Schedule):
            raise TypeError(
                f"schedule is {brief(schedule)}; give what flow.schedule(...) made"
            )
        if isinstance(self.denoiser.noising, FlowMatching):
            return noise
        return started(noise, schedule)

    def own_sample(self, sample: Any, t: float) -> Any:
        """A sample of the flow as the network's training had it.

        Args:
            sample: pytree of arrays, where the flow stands at a time.
            t: the time, as the network is told. At the end of a schedule the flow's
                sample is the clean one, and needs no way back.

        Returns:
            The sample, times signal and noise.
        """
        check_leaves(sample, "sample")
        check_numbers("t", t)
        alpha, s = self.denoiser.noising.levels(jnp.asarray([t], jnp.float32))
        scale = (alpha + s)[0]
        return jax.tree.map(lambda x: (scale * wide(x)).astype(x.dtype), sample)

    def _check(self, times: np.ndarray, alpha: np.ndarray, s: np.ndarray) -> None:
        said = self.denoiser.predicts
        empty = {"epsilon": alpha, "sample": s}.get(
            said if isinstance(said, str) else ""
        )
        if not (np.isfinite(alpha).all() and np.isfinite(s).all()):
            raise ValueError("the rates are not finite at all times of the schedule")
        if empty is not None and (empty <= 0).any():
            at, lacks = times[empty <= 0][0], "signal" if said == "epsilon" else "noise"
            raise ValueError(
                f"at time {at} there is no {lacks}, and what the network says of it "
                "tells nothing of the sample there; leave that time out"
            )


@naming_arguments(
    {
        "model": "predict",
        "network": "predict",
        "schedule": "rates",
        "target": "prediction",
    }
)
def as_flow(
    predict: Callable[[Any, Any, Any, Any], Any],
    rates: Any = None,
    prediction: Any = "epsilon",
) -> Flow:
    """Makes a network that was trained on any noise a denoiser of a straight flow.

    A sample ``alpha * x0 + s * noise``, divided by ``alpha + s``, is one of a straight
    flow at ``s / (alpha + s)``. This is exact: an Euler step of the flow is a step of
    DDIM (Song et al. 2021) with the network's own sample, whatever the rates are.

    Args:
        predict: ``(params, sample, t, condition)`` to what the network says, over
            pytrees of [rows, ...] arrays. It sees the sample that it was trained on,
            and ``t`` as its training had it; with ``"edm"`` what that is given.
        rates: how it was trained: `VPDiffusion`, the default, with its betas;
            `EDMDiffusion`; `FlowMatching`; two lists, alpha and sigma of each training
            step; or a function from times, float32[rows], to both.
        prediction: what it says: ``"epsilon"``, the noise; ``"x0"``, the clean sample;
            ``"v"``, ``alpha * noise - sigma * x0``; ``"edm"``, with `EDMDiffusion`,
            what its preconditioning adds; or a function ``(said, sample, alpha, sigma)
            -> (x0, noise)``, over arrays that broadcast.

    Returns:
        The model, which also makes its schedule and first sample. Make it once; another
        one is another program.

    Raises:
        TypeError: for something else than a function, or than rates.
        ValueError: for an unknown prediction, or lists that do not fit.
    """
    check_takes("predict", predict, hint=" to what the network says")
    rates = VPDiffusion() if rates is None else rates
    if callable(prediction):
        check_takes("prediction", prediction, ("said", "sample", "alpha", "sigma"))
    elif not isinstance(prediction, str):
        raise TypeError(
            f"prediction is {brief(prediction)}; give one of {sorted(_SAYS)}, or a "
            "function (said, sample, alpha, sigma) -> (x0, noise)"
        )
    elif prediction not in _SAYS:
        raise ValueError(unknown_name("prediction", prediction, _SAYS, _ELSEWHERE))
    if prediction == "edm" and not isinstance(rates, EDMDiffusion):
        raise ValueError('prediction "edm" goes with rates=EDMDiffusion(...)')
    if not isinstance(rates, _KNOWN):
        rates = _rates(rates)
    says = prediction if callable(prediction) else _SAYS[prediction]
    return Flow(Predicting(predict, rates, says))


def _rates(given: Any) -> Rates:
    if isinstance(given, type):
        raise TypeError(f"rates is {given!r}, a class; give {given.__name__}(...)")
    if callable(given):
        _check_function(given)
        function: Any = given
        return Rates(function)
    if not isinstance(given, list | tuple | np.ndarray | jax.Array) or len(given) != 2:
        raise TypeError(
            f"rates is {brief(given)}; give VPDiffusion(...), EDMDiffusion(...), "
            "FlowMatching(), two lists (alphas, sigmas), or a function from t to both"
        )
    for name, one in zip(("alphas", "sigmas"), given, strict=True):
        check_numbers(name, one, shape=(None,), least=0.0)
    if len(given[0]) != len(given[1]):
        raise ValueError(
            f"there are {len(given[0])} alphas and {len(given[1])} sigmas; each step "
            "of the training has one of both"
        )
    return Rates(None, np.asarray(given, np.float64))


def _check_function(function: Any) -> None:
    """Checks that rates are told of times in the compiled loop, two for each."""
    check_takes("rates", function, ("t",))
    t = jax.ShapeDtypeStruct((3,), jnp.float32)
    wanted = (
        "it is traced, so it must be a function of jax.numpy from times, float32[rows],"
        " to two things, alpha and sigma of each"
    )
    try:
        said = jax.eval_shape(lambda t: jax.tree.map(jnp.asarray, function(t)), t)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        line = str(error).partition("\n")[0][:120]
        raise TypeError(
            f"rates= failed on float32[3]: {type(error).__name__}: {line}; {wanted}"
        ) from error
    shapes = [getattr(x, "shape", None) for x in said] if _is_pair(said) else []
    if not shapes or any(shape not in ((), t.shape) for shape in shapes):
        raise ValueError(f"rates= returned {described(said)} of float32[3]; {wanted}")


def _is_pair(said: Any) -> bool:
    return isinstance(said, list | tuple) and len(said) == 2
