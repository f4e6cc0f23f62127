"""Where settings come from: of which weights, on what, and how good they were."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
from typing import Any

import jax
import numpy as np

from jax_stepcache.check import dtype_of, fetched
from jax_stepcache.network.params import Params

# Of each array; all of a large model's would take longer than what is calibrated.
_LOOKED_AT = 256


def weights_mark(params: Any) -> str:
    """Tells weights apart, by names, shapes and some numbers of each array.

    Args:
        params: see `sample`.

    Returns:
        16 hexadecimal digits. Rounding to another dtype gives another mark.
    """
    weights = params.weights if isinstance(params, Params) else params
    mark = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(weights):
        first = x
        if np.ndim(x):
            first = x[(0,) * (np.ndim(x) - 1)][:_LOOKED_AT] if np.size(x) else x
        numbers = np.asarray(fetched(first), np.float32)
        said = (jax.tree_util.keystr(path), np.shape(x), str(dtype_of(x)))
        mark.update(repr(said).encode())
        mark.update(np.ascontiguousarray(numbers).tobytes())
    return mark.hexdigest()[:16]


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
