"""Where settings come from: of which weights, on what, and how good they were."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import dtype_of, fetched
from jax_stepcache.network.params import Params

_WHOLE = 1 << 18
"""Numbers of an array up to which all of them are looked at."""

_SOME = 1 << 14
"""How many are looked at of a larger one, wherever in it."""

_ALL_OVER = "all-over-"
"""Begins a mark that looks at the whole of each array."""

_FIRST = 256
"""Of each array's first row, in marks of files that were written before."""


def weights_mark(params: Any) -> str:
    """Tells weights apart, by names, shapes and numbers of each array.

    Of an array up to a quarter of a million these are all; of a larger one some, the
    same ones each time, drawn from all over it: a large model's would take longer than
    what is calibrated.

    Args:
        params: see `sample`.

    Returns:
        Letters and 16 hexadecimal digits. Rounding to another dtype gives another mark.
    """
    return _ALL_OVER + _marked(params, _all_over)


def is_marked(params: Any, mark: str) -> bool:
    """Whether weights have a mark, also one as it was made before.

    Args:
        params: see `sample`.
        mark: what `weights_mark` gave, now or in a version before it looked at more
            than the beginning of each array.

    Returns:
        Whether they do.
    """
    if mark.startswith(_ALL_OVER):
        return weights_mark(params) == mark
    return _marked(params, _beginning) == mark


def _marked(params: Any, numbers: Callable[[str, Any], Any]) -> str:
    weights = params.weights if isinstance(params, Params) else params
    mark = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(weights):
        name = jax.tree_util.keystr(path)
        looked = np.asarray(fetched(numbers(name, x)), np.float32)
        said = (name, np.shape(x), str(dtype_of(x)))
        mark.update(repr(said).encode())
        mark.update(np.ascontiguousarray(looked).tobytes())
    return mark.hexdigest()[:16]


def _all_over(name: str, x: Any) -> Any:
    """What is looked at of an array: all of it, or numbers from everywhere."""
    if np.size(x) <= _WHOLE:
        return x
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    draw, shape = np.random.default_rng(seed), np.shape(x)
    return x[tuple(draw.integers(0, length, _SOME) for length in shape)]


def _beginning(name: str, x: Any) -> Any:
    """What marks of files looked at before."""
    del name
    if np.ndim(x) and np.size(x):
        return x[(0,) * (np.ndim(x) - 1)][:_FIRST]
    return x


def provenance_of(params: Any) -> dict[str, Any]:
    """What a calibration notes of its circumstances.

    Args:
        params: see `sample`.

    Returns:
        The model's name, the `weights_mark`, the date and the versions; as JSON.
    """
    model = params.model.name if isinstance(params, Params) else None
    return {
        "model": model,
        "weights": weights_mark(params),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "jax_stepcache": importlib.metadata.version("jax-stepcache"),
        "jax": jax.__version__,
    }
