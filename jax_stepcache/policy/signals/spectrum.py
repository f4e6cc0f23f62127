"""The change of the spectrally filtered sample, SeaCache's signal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.signals.seen import SeenState
from jax_stepcache.policy.view import View

_TINY = 1e-16


@register_dataclass
@dataclass(frozen=True)
class Spectrum:
    """Relative L1 of the filtered sample against the step before.

    SeaCache's filter is Wiener's for natural images, whose power falls with frequency:
    at high noise it keeps the low frequencies, which are all that is decided there.
    Distances are taken for each sample and averaged.

    Attributes:
        power_exp: how fast the power falls with frequency.
        axes: the sample's axes over space and time; None for all but the first and the
            last, as in channels-last arrays.
        output: which output is looked at, where the sample is a mapping.
    """

    looks_at: ClassVar[str] = "sample"

    power_exp: jax.Array | np.ndarray | float = 3.0
    axes: tuple[int, ...] | None = field(default=None, metadata={"static": True})
    output: str | None = field(default=None, metadata={"static": True})

    def init(self, view: View) -> SeenState:
        """See `Signal.init`.

        Raises:
            ValueError: if the sample has no such axes or output.
        """
        sample, _ = self._seen(view)
        axes = self._axes(sample.ndim)
        if not axes or not all(0 < axis < sample.ndim for axis in axes):
            raise ValueError(
                f"the spectrum is taken over axes {axes} of a sample of shape "
                f"{sample.shape}; they must be between 1 and {sample.ndim - 1}"
            )
        last = jnp.zeros(sample.shape, jnp.float32)
        return SeenState(last, jnp.zeros((), bool))

    def measure(self, state: SeenState, view: View) -> tuple[jax.Array, SeenState]:
        """See `Signal.measure`; NaN at the first step."""
        sample, sigma = self._seen(view)
        new = spectral_filter(
            sample.astype(jnp.float32), sigma, self._axes(sample.ndim), self.power_exp
        )
        distance = relative_l1(state.last, new, eps=_TINY, per_sample=True)
        signal = jnp.where(state.seen, distance, jnp.nan)
        return signal, SeenState(new, jnp.ones((), bool))

    def record(self, state: SeenState, view: View, value: Any) -> SeenState:
        """See `Signal.record`."""
        del view, value
        return state

    def _axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(range(1, ndim - 1)) if self.axes is None else self.axes

    def _seen(self, view: View) -> tuple[Any, Any]:
        if view.inside is not None and view.inside.shown is not None:
            return view.inside.shown, view.inside.sigma
        if not isinstance(view.sample, Mapping):
            if len(jax.tree.leaves(view.sample)) != 1:
                raise ValueError("the spectrum needs a sample of one array, or a name")
            return jax.tree.leaves(view.sample)[0], jax.tree.leaves(view.sigma)[0]
        if self.output not in view.sample:
            raise ValueError(
                f"the spectrum looks at the output {self.output!r}; the sample has "
                f"{sorted(view.sample)}"
            )
        return view.sample[self.output], view.sigma[self.output]


def spectral_filter(
    x: jax.Array,
    sigma: jax.Array,
    axes: tuple[int, ...],
    power_exp: jax.Array | np.ndarray | float,
) -> jax.Array:
    """Filters a noisy sample for what natural images would have in it.

    Args:
        x: float32 array.
        sigma: float32 scalar, its noise level.
        axes: axes to filter over.
        power_exp: how fast power falls with frequency.

    Returns:
        float32 array of the same shape.
    """
    signal = jnp.clip(1 - sigma, 1e-6, 1 - 1e-6)
    noise = jnp.clip(sigma, 1e-6, 1 - 1e-6)
    kernel = jnp.ones((1,) * x.ndim, jnp.float32)
    for axis in axes:
        frequency = jnp.abs(jnp.fft.fftfreq(x.shape[axis], dtype=jnp.float32))
        power = 1 / (frequency**power_exp + _TINY)
        gain = signal * power / (signal**2 * power + noise**2 + _TINY)
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        kernel = kernel * gain.reshape(shape)
    kernel = kernel * (math.prod(kernel.shape) / kernel.sum())
    spectrum = over(jnp.fft.fftn, x, axes)
    spectrum *= kernel.astype(spectrum.dtype)
    return over(jnp.fft.ifftn, spectrum, axes).real


def over(transform: Callable[..., jax.Array], x: jax.Array, axes: Any) -> jax.Array:
    """Transforms some axes, with all others made one.

    Of a batch that is spread over devices XLA's compiler for the CPU would else lay out
    the transform's operand in an order that its FFT refuses (jax 0.10).
    """
    last = tuple(range(-len(axes), 0))
    moved = jnp.moveaxis(x, axes, last)
    flat = moved.reshape(-1, *moved.shape[moved.ndim - len(axes) :])
    return jnp.moveaxis(transform(flat, axes=last).reshape(moved.shape), last, axes)
