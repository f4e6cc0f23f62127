"""Which weights something was found for: marks that tell weights apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import dtype_of, fetched
from jax_stepcache.checkpoints.layers import Layers, is_apart, stacked_shape
from jax_stepcache.errors import warn
from jax_stepcache.network.bundled import Bundled
from jax_stepcache.network.params import Params

_WHOLE = 1 << 22
"""Numbers of an array up to which all of them are looked at."""

_SOME = 1 << 14
"""How many are looked at of a larger one, wherever in it."""

_ALL_OVER = "all-over-"
"""Begins a mark that looks at the whole of each array."""

_FIRST = 256
"""Of each array's first row, in marks of files that were written before."""


def weights_mark(params: Any) -> str:
    """Tells weights apart, by names, shapes and numbers of each array.

    Of an array up to four million these are all; of a larger one some, the same ones
    each time, drawn from all over it: a large model's would take longer than what is
    calibrated. Whether layers are stacked or apart makes no difference.

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


def of_other_weights(found: Mapping[str, Any], params: Any) -> list[str]:
    """What of a file of settings was found for other weights.

    Args:
        found: what it holds, see `TunedFile`.
        params: the weights.

    Returns:
        Numbers of model calls, each once; none where nobody noted the weights.
    """
    marks: dict[str, bool] = {}

    def is_other(one: Mapping[str, Any]) -> bool:
        mark = one.get("provenance", {}).get("weights")
        if mark is not None and mark not in marks:
            marks[mark] = is_marked(params, mark)
        return mark is not None and not marks[mark]

    others = [
        calls
        for part in ("tables", "optimised", "schedules")
        for calls, one in found.get(part, {}).items()
        if is_other(one)
    ]
    return list(dict.fromkeys(others))


def warn_of_other_weights(model: Any, weights: Any) -> None:
    """Tells that a model's own tables and schedules are of other weights than these.

    Args:
        model: a model; of those that have none nothing is said.
        weights: what was loaded for it, in place of the weights that come with it.
    """
    if not isinstance(model, Bundled) or not model.is_bundled:
        return
    others = of_other_weights(model.tuned_file.read(), weights)
    if others:
        warn(
            f"these are not the weights that {model.name}'s own tables, of "
            f"{', '.join(others)} model calls, were found for; cache='tuned' and "
            "'bespoke' take them with a budget all the same. calibrate finds one for "
            "these, and load_settings(path, params) tells whose it is"
        )


def _marked(params: Any, numbers: Callable[[str, Any], Any]) -> str:
    weights = params.weights if isinstance(params, Params) else params
    mark = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(weights, is_leaf=is_apart)
    for path, x in leaves:
        name = jax.tree_util.keystr(path)
        looked = np.asarray(numbers(name, x), np.float32)
        said = (name, stacked_shape(x), str(dtype_of(x[0] if is_apart(x) else x)))
        mark.update(repr(said).encode())
        mark.update(np.ascontiguousarray(looked).tobytes())
    return mark.hexdigest()[:16]


def _all_over(name: str, x: Any) -> Any:
    """What is looked at of an array: all of it, or numbers from everywhere."""
    shape = stacked_shape(x)
    if np.prod(shape, dtype=np.int64) <= _WHOLE:
        return np.stack(fetched([*x])) if is_apart(x) else fetched(x)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    draw = np.random.default_rng(seed)
    layer, *places = (draw.integers(0, length, _SOME) for length in shape)
    if not is_apart(x):
        return fetched(x[(layer, *places)])
    looked = np.zeros(_SOME, np.float32)
    for i, one in enumerate(x):
        here = layer == i
        looked[here] = fetched(one[tuple(place[here] for place in places)])
    return looked


def _beginning(name: str, x: Any) -> Any:
    """What marks of files looked at before."""
    del name
    if isinstance(x, Layers):
        x = x[0] if np.ndim(x[0]) else np.stack(fetched([*x]))
    if np.ndim(x) and np.size(x):
        x = x[(0,) * (np.ndim(x) - 1)][:_FIRST]
    return fetched(x)
