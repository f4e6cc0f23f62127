"""What a calibration samples, measured against the uncached sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.quality import decibels, decoded
from jax_stepcache.check import batch_size, check_count
from jax_stepcache.errors import unknown_name
from jax_stepcache.loop.generation import draw_noise
from jax_stepcache.meshes.explicit import with_automatic_axes
from jax_stepcache.network.params import Params
from jax_stepcache.sampling import sample

_PER_SAMPLE = ("noise", "observation", "condition", "negative_condition")


class Samples(NamedTuple):
    """Samples to calibrate on.

    Attributes:
        params: see `sample`.
        shared: options of `sample` for all of them.
        batch: options that differ, [samples, ...] arrays; the noise is among them.
        number: how many there are.
        model: the model.
        reference: the uncached samples, decoded.
    """

    params: Any
    shared: Mapping[str, Any]
    batch: Mapping[str, Any]
    number: int
    model: Any
    reference: Any = None

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
        return jax.tree.map(lambda x: x[i : i + 1], dict(self.batch))

    def measured(self) -> Samples:
        """The samples with their uncached reference."""
        return self._replace(reference=self.together()[1])

    def together(self, **options: Any) -> tuple[float, Any]:
        """Samples all in one batch: model calls, and the decoded samples."""
        result = sample(self.params, **self.shared, **self.batch, **options)
        calls = float(result.stats.model_calls)
        return calls, decoded(self.model, result.sample)

    def apart(self, **options: Any) -> tuple[float, Any]:
        """Samples each alone, so that each decides for itself: mean calls, samples."""
        results = [
            sample(self.params, **{**self.shared, **self.one(i), **options})
            for i in range(self.number)
        ]
        calls = float(np.mean([int(r.stats.model_calls) for r in results]))
        whole = jax.tree.map(
            lambda *parts: jnp.concatenate(parts), *[r.sample for r in results]
        )
        return calls, decoded(self.model, whole)

    def quality(self, shown: Any) -> dict[str, float]:
        """The dB of every output against the uncached samples."""
        return decibels(self.reference, shown)

    def plain(self, num_steps: int) -> dict[str, float]:
        """The dB of as many steps without a cache."""
        shared = {**self.shared, "num_inference_steps": num_steps}
        result = sample(self.params, **shared, **self.batch)
        return self.quality(decoded(self.model, result.sample))


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
        options: of `sample`, for all of them.

    Returns:
        The samples, without their reference: nothing has been sampled yet.

    Raises:
        ValueError: if they do not fit.
        TypeError: likewise.
    """
    worlds, noise = jax.random.split(jax.random.key(0) if key is None else key)
    shared = dict(options) if model is None else {"model": model, **options}
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
        batch = with_automatic_axes(dict(samples))
        count = batch_size(batch["noise"], "samples['noise']")
        if known is not None and not {"observation", "condition"} & set(batch):
            batch["observation"] = known.example(worlds, count)
    elif known is None:
        raise TypeError(
            f"samples is {samples!r}; with a model of your own, give a mapping with "
            "'noise' (and 'condition'), [samples, ...] arrays"
        )
    else:
        check_count("samples", samples, 1)
        count = samples
        batch = {
            "observation": known.example(worlds, count),
            "noise": draw_noise(noise, known.noise_struct(count)),
        }
    return Samples(params, shared, batch, count, known)
