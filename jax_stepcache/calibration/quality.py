"""How good a sample is beside the uncached one, for any model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def decoded(model: Any, sample: Any) -> Any:
    """What people look at, where the model can tell; else the sample itself."""
    decode = getattr(model, "decode", None)
    return sample if decode is None else decode(sample)


def decibels(reference: Any, others: Any) -> dict[str, float]:
    """Peak signal-to-noise ratio of every output, in dB.

    Args:
        reference: pytree of [samples, ...] arrays.
        others: the same.

    Returns:
        By output name (``""`` for a single array), the lower one of two averages: that
        over samples of their ratios, and the ratio of the mean square error over all.
        Infinite for equal ones. The peak is 1 for what lies in [0, 1], else the range.
    """
    reference, others = jax.device_get((reference, others))
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(reference),
        jax.tree.leaves(others),
        strict=True,
    )
    found = {}
    for (path, wanted), given in pairs:
        a = np.asarray(wanted, np.float64)
        low, high = a.min(), a.max()
        peak = 1.0 if (low >= 0 and high <= 1) or low == high else high - low
        error = np.square(a - np.asarray(given)).reshape(len(a), -1).mean(axis=1)
        with np.errstate(divide="ignore"):
            each = 10 * np.log10(peak**2 / error)
            pooled = 10 * np.log10(peak**2 / error.mean())
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found[name] = float(min(each.mean(), pooled))
    return found


def spread(reference: Any, others: Any) -> dict[str, float]:
    """Standard deviation of the samples' ratios, in dB, by output; see `decibels`."""
    reference, others = jax.device_get((reference, others))
    count = len(jax.tree.leaves(reference)[0])

    def one(i: int) -> dict[str, float]:
        pair = jax.tree.map(lambda x: x[i : i + 1], (reference, others))
        return decibels(*pair)

    each = [one(i) for i in range(count)]
    return {name: float(np.std([one[name] for one in each])) for name in each[0]}


def shown(quality: Mapping[str, float], output: str | None) -> float:
    """The one number of a curve: the signal output's, else the lowest, in dB."""
    for name in (output or "", "video", "image"):
        if name in quality:
            return quality[name]
    return min(quality.values())


def ahead(quality: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """How far ahead of a baseline, in dB, on the output where it is least."""
    # Two that are both without error are level.
    leads = [quality[name] - baseline[name] for name in baseline]
    return min(0.0 if np.isnan(lead) else lead for lead in leads)
