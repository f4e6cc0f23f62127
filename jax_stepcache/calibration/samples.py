"""What a calibration samples, measured against the uncached sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.answers import check_finite
from jax_stepcache.calibration.plain import with_schedule
from jax_stepcache.calibration.quality import decibels, decoded
from jax_stepcache.check import batch_size, check_count, check_leaves, fetched
from jax_stepcache.errors import brief, unknown_name
from jax_stepcache.kept import kept
from jax_stepcache.loop.transfers import sent
from jax_stepcache.meshes.explicit import with_automatic_axes
from jax_stepcache.network.beginning import draw_noise
from jax_stepcache.network.condition import condition_axes
from jax_stepcache.network.inputs import Inputs, default_key
from jax_stepcache.network.own import function_model
from jax_stepcache.network.own_rows import own_axes
from jax_stepcache.network.params import Params
from jax_stepcache.network.protocol import SamplingDefaults
from jax_stepcache.network.rows import RowAxes, leading_axes, take_rows
from jax_stepcache.sampling import sample

_PER_SAMPLE = ("noise", "observation", "condition", "negative_condition")


class Samples(NamedTuple):
    """Samples to calibrate on.

    Attributes:
        params: see `sample`.
        options: of `sample`, for all of them, as they were given: ``schedule`` may be a
            function of the step count.
        batch: options that differ, [samples, ...] arrays; the noise is among them.
        number: how many there are.
        model: the model.
        reference: the uncached samples, decoded.
    """

    params: Any
    options: Mapping[str, Any]
    batch: Mapping[str, Any]
    number: int
    model: Any
    reference: Any = None

    @property
    def shared(self) -> dict[str, Any]:
        """The options of `sample` for all of them."""
        return with_schedule(self.options, 0, self._default_steps)

    @property
    def output(self) -> str | None:
        """The output whose PSNR a curve shows, where the model names one."""
        return getattr(self.model, "signal_output", None)

    @property
    def sampler(self) -> dict[str, Any]:
        """The options of `sample` that a setting holds for."""
        return {k: x for k, x in self.shared.items() if k != "model"}

    def one(self, i: int) -> dict[str, Any]:
        """The options of one of them, a batch of its own."""
        return self._rows([i])

    def some(self, places: Sequence[int]) -> Samples:
        """Some of them, without their reference."""
        batch = self._rows(places)
        return self._replace(batch=batch, number=len(places), reference=None)

    def _rows(self, places: Sequence[int]) -> dict[str, Any]:
        rows, number = np.array(places, np.int32), self.number
        found = {}
        for name, given in self.batch.items():
            axes = self._axes(name)
            # What a model has prepared for both branches has rows of both.
            lengths = (
                x.shape[axis] // number
                for x, axis in zip(jax.tree.leaves(given), axes, strict=True)
                if axis is not None
            )
            branches = [rows + i * number for i in range(next(lengths, 1))]
            taken = sent(np.concatenate(branches), given)
            found[name] = take_rows(given, axes, taken)
        return found

    def _axes(self, name: str) -> RowAxes:
        """The axes of samples; a condition has them anywhere, or shares an array."""
        given = self.batch[name]
        if name not in ("condition", "negative_condition"):
            return leading_axes(given)
        if self.model is None:
            model = function_model(self.shared["model"])
            return own_axes(model, self.params, given, self.batch["noise"])
        inputs, weights = Inputs(None, given), self.params.weights
        return condition_axes(self.model, weights, inputs, None, False)

    def measured(self) -> Samples:
        """The samples with their uncached reference.

        Raises:
            ValueError: if the network does not answer with finite numbers.
        """
        result = sample(self.params, **self.shared, **self.batch)
        check_finite(result, self.batch["noise"])
        return self._replace(reference=decoded(self.model, result.sample))

    def together(self, **options: Any) -> tuple[float, Any]:
        """Samples all in one batch: mean model calls, and the decoded samples."""
        result = sample(self.params, **{**self.shared, **self.batch, **options})
        calls = float(np.mean(jax.device_get(result.stats.model_calls)))
        return calls, decoded(self.model, result.sample)

    def apart(self, **options: Any) -> tuple[float, Any]:
        """Samples so that each decides for itself: mean calls, decoded samples."""
        if self.options.get("decide") == "sample":
            return self.together(**options)
        results = [
            sample(self.params, **{**self.shared, **self.one(i), **options})
            for i in range(self.number)
        ]
        made = jax.device_get([r.stats.model_calls for r in results])
        calls = float(np.mean(made))
        whole = jax.tree.map(
            lambda *parts: jnp.concatenate(parts), *[r.sample for r in results]
        )
        return calls, decoded(self.model, whole)

    def quality(self, shown: Any) -> dict[str, float]:
        """The dB of every output against the uncached samples."""
        return decibels(self.reference, shown)

    def plain(self, num_steps: int) -> dict[str, float]:
        """The dB of as many steps without a cache."""
        result = sample(self.params, **self.with_steps(num_steps), **self.batch)
        return self.quality(decoded(self.model, result.sample))

    def with_steps(self, num_steps: int) -> dict[str, Any]:
        """The options for all of them, with so many steps; 0 for their own."""
        return with_schedule(self.options, num_steps, self._default_steps)

    @property
    def _default_steps(self) -> int:
        usual = SamplingDefaults() if self.model is None else self.model.defaults
        return usual.num_inference_steps


def make_samples(
    params: Any,
    model: Any,
    samples: int | Mapping[str, Any],
    key: jax.Array | None,
    options: Mapping[str, Any],
) -> Samples:
    """Draws the samples, or takes those that are given.

    Args:
        params: see `sample`.
        model: likewise.
        samples: how many of a bundled model's own, or a mapping with ``noise`` and what
            else `sample` takes of ``observation``, ``condition`` and
            ``negative_condition``, [samples, ...] arrays.
        key: draws observations and noise.
        options: of `sample`, for all of them; a guidance scale may be one for each.

    Returns:
        The samples, without their reference: nothing has been sampled yet.

    Raises:
        ValueError: if they do not fit.
        TypeError: likewise.
    """
    worlds, noise = jax.random.split(default_key() if key is None else key)
    # The result tells the options, and outlives the call.
    shared: dict[str, Any] = {} if model is None else {"model": model}
    shared |= kept(dict(options))
    known = params.model if isinstance(params, Params) else None
    if isinstance(samples, Mapping):
        for name in samples:
            if name not in _PER_SAMPLE:
                raise ValueError(unknown_name("entry of samples", name, _PER_SAMPLE))
        if "noise" not in samples:
            raise ValueError(
                f"samples has {sorted(samples)}; it needs 'noise', [samples, ...] "
                "arrays"
            )
        batch = kept(with_automatic_axes(dict(samples)))
        for name, given in batch.items():
            check_leaves(given, f"samples[{name!r}]")
        count = batch_size(batch["noise"], "samples['noise']")
        if known is not None and not {"observation", "condition"} & set(batch):
            batch["observation"] = known.example(worlds, count)
    elif known is None:
        raise TypeError(
            f"samples is {brief(samples)}; with a model of your own, give a mapping "
            "with 'noise' (and 'condition'), [samples, ...] arrays"
        )
    else:
        check_count("samples", samples, 1)
        count = samples
        batch = {
            "observation": known.example(worlds, count),
            "noise": draw_noise(noise, known.noise_struct(count)),
        }
    scale = shared.get("guidance_scale")
    if scale is not None and np.ndim(scale) == 1:
        scales = np.asarray(fetched(shared.pop("guidance_scale")))
        if known is not None and np.ptp(scales) and (scales == 1).any():
            raise ValueError(
                f"guidance_scale is 1 for samples {np.flatnonzero(scales == 1)} and "
                "not for others; those have no branches to measure by, so calibrate "
                "them apart"
            )
        batch["guidance_scale"] = scales
    return Samples(params, shared, batch, count, known)
