"""The quantiles in a checkpoint's metadata: read, and checked one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Quantiles(NamedTuple):
    """What -1 and 1 stand for, in the robot's units.

    Attributes:
        q01: float32[n], the 1st percentile of each component.
        q99: float32[n], the 99th; at least ``q01``.
    """

    q01: jax.Array
    q99: jax.Array


def read_quantiles(
    groups: Mapping[str, Any], group: str, keys: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The (2, n) quantiles of those keys that have them, and what is wrong with others.

    Args:
        groups: the entry's ``statistics``.
        group: ``"state"`` or ``"action"``.
        keys: the keys that are needed.

    Returns:
        Quantiles by key, float32 (2, n), and a line for each fault.
    """
    entries = mapping(groups.get(group))
    missing = [f"missing {group}.{key}" for key in keys if key not in entries]
    faults = [*missing, f"{group} has {sorted(entries)}"] if missing else []
    found = {}
    for key in keys:
        if key not in entries:
            continue
        entry, vectors = mapping(entries[key]), []
        for quantile in ("q01", "q99"):
            name = f"{group}.{key}.{quantile}"
            if quantile not in entry:
                faults.append(f"missing {name}")
                continue
            vector = _vector(entry[quantile])
            if vector is None:
                faults.append(f"{name} must be a flat list of finite numbers")
            else:
                vectors.append(vector)
        if len(vectors) < 2:
            continue
        q01, q99 = vectors
        if len(q01) != len(q99):
            faults.append(
                f"{group}.{key} has {len(q01)} values of q01 and {len(q99)} of q99"
            )
        elif np.any(q01 > q99):
            where = np.flatnonzero(q01 > q99).tolist()
            faults.append(f"{group}.{key} has q01 > q99 in components {where}")
        else:
            found[key] = np.stack(vectors)
    return found, faults


def _vector(values: object) -> np.ndarray | None:
    """A JSON list as float32[n], or None if it is not one of finite numbers."""
    try:
        array = np.asarray(values)
    except ValueError:  # lists of different lengths
        return None
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iuf":
        return None
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    return array if np.isfinite(array).all() else None


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a JSON object, else an empty one: all of it is missing."""
    return value if isinstance(value, Mapping) else {}


def concatenated(parts: Mapping[str, np.ndarray]) -> Quantiles:
    """The quantiles of several keys, (2, n) each, side by side."""
    q01, q99 = np.concatenate(list(parts.values()), axis=-1)
    return Quantiles(jnp.asarray(q01), jnp.asarray(q99))
