"""What a robot's states and actions are normalised by, as openpi's folders have it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jax_stepcache.paths import as_path

FILE = "norm_stats.json"
_EPS = 1e-6
_OF_EACH = ("mean", "std")
_QUANTILES = ("q01", "q99")


class Spread(NamedTuple):
    """What 0 and 1, or -1 and 1, stand for.

    Attributes:
        low: float32[n], the mean; or the first percentile.
        high: float32[n], the standard deviation; or the 99th percentile.
        quantiles: whether they are percentiles, as for pi0.5.
    """

    low: np.ndarray
    high: np.ndarray
    quantiles: bool

    def normalised(self, x: np.ndarray) -> np.ndarray:
        """From the robot's units.

        Args:
            x: float32 (..., m) with m at most n.

        Returns:
            float32 (..., m); nothing is clipped.
        """
        low, high = self.low[: x.shape[-1]], self.high[: x.shape[-1]]
        if self.quantiles:
            return (x - low) / (high - low + _EPS) * 2.0 - 1.0
        return (x - low) / (high + _EPS)

    def in_units(self, x: np.ndarray) -> np.ndarray:
        """Back into the robot's units.

        Args:
            x: float32 (..., m), m at least n.

        Returns:
            Like ``x``; what lies past the statistics is as it was.
        """
        n = min(len(self.low), x.shape[-1])
        low, high, known = self.low[:n], self.high[:n], x[..., :n]
        if self.quantiles:
            made = (known + 1.0) / 2.0 * (high - low + _EPS) + low
        else:
            made = known * (high + _EPS) + low
        return np.concatenate([made, x[..., n:]], axis=-1).astype(np.float32)


class Statistics(NamedTuple):
    """Of one robot.

    Attributes:
        state: of its state.
        actions: of its actions.
    """

    state: Spread
    actions: Spread


def load_statistics(path: str | os.PathLike[str], *, quantiles: bool) -> Statistics:
    """Reads ``norm_stats.json``.

    Args:
        path: the file, or a folder that has one in it, at any depth.
        quantiles: whether the model takes percentiles, as pi0.5 does.

    Returns:
        The statistics.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if there are several, or one lacks something.
    """
    file = as_path(path)
    if file.is_dir():
        found = sorted(file.rglob(FILE))
        if not found:
            raise FileNotFoundError(f"{file} has no {FILE} in it")
        if len(found) > 1:
            names = [str(one.parent.relative_to(file)) for one in found]
            raise ValueError(
                f"{file} has statistics of {names}; give the folder of your robot"
            )
        file = found[0]
    try:
        said: Any = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    groups = said.get("norm_stats", said) if isinstance(said, Mapping) else {}
    return Statistics(
        *(_spread(groups, name, quantiles, file) for name in Statistics._fields)
    )


def _spread(
    groups: Mapping[str, Any], name: str, quantiles: bool, file: Path
) -> Spread:
    group = groups.get(name) if isinstance(groups, Mapping) else None
    wanted = _QUANTILES if quantiles else _OF_EACH
    if not isinstance(group, Mapping) or not all(group.get(one) for one in wanted):
        raise ValueError(f"{file} has no {' and '.join(wanted)} of {name!r}")
    try:
        low, high = (np.asarray(group[one], np.float32) for one in wanted)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: {name!r} has no numbers: {error}") from error
    if low.ndim != 1 or low.shape != high.shape or not np.isfinite([low, high]).all():
        raise ValueError(
            f"{file}: {name!r} has {wanted[0]} {low.shape} and {wanted[1]} "
            f"{high.shape}; they must be as many finite numbers each"
        )
    return Spread(low, high, quantiles)
