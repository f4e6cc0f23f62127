"""Where settings come from: of which weights, on what, and how good they were."""

from __future__ import annotations

import datetime
import importlib.metadata
from typing import Any

import jax

from jax_stepcache.network.found_for import weights_mark
from jax_stepcache.network.params import Params


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
