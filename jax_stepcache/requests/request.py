"""A request, of what users write for one, and what it shares with others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jax_stepcache.errors import brief, unknown_name
from jax_stepcache.loop.generation import Generation
from jax_stepcache.options import ELSEWHERE, Options, Request, resolve
from jax_stepcache.solvers.named_schedules import has_names

_STEPS = ("num_inference_steps", "shift", "final_noise")
_INSTEAD_OF = {
    "schedule": _STEPS,
    **dict.fromkeys(_STEPS, ("schedule",)),
    "cache": ("cache_config", "budget", "forecast"),
}


# What all requests share.
_COMPILED = ("model", "solver")


def as_request(given: Request | Mapping[str, Any]) -> Request:
    """Makes a `Request` of a mapping with the same names.

    Raises:
        TypeError: if it is neither.
        ValueError: for a name that there is not.
    """
    if isinstance(given, Request):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(
            f"a request is a Request, or a mapping with its fields; got {brief(given)}"
        )
    known = [field.name for field in dataclasses.fields(Request)]
    for name in given:
        if name in _COMPILED:
            raise ValueError(
                f"{name} is no field of a request: it is compiled into the program, "
                "so it is shared by all and given beside them"
            )
        if name not in known:
            kind = "field of a request"
            raise ValueError(unknown_name(kind, name, known, ELSEWHERE))
    return Request(**given)


def resolve_request(
    params: Any, shared: Mapping[str, Any], request: Request
) -> Generation:
    """Checks a request as `sample` does; what it leaves open is shared.

    Args:
        params: see `sample`.
        shared: options of `sample`.
        request: the request.

    Returns:
        The generation.

    Raises:
        ValueError: see `sample`.
        TypeError: likewise.
    """
    own = request.options()
    left = dict(shared)
    # What a request says takes the place of whatever says the same.
    named = has_names(own.get("schedule", left.get("schedule")))
    for name in own:
        for other in _INSTEAD_OF.get(name, ()):
            # The name of a schedule goes with a number of steps.
            if not (named and {name, other} == {"schedule", "num_inference_steps"}):
                left.pop(other, None)
    if np.array_equal(own.get("guidance_scale", 0), 1):
        left.pop("negative_condition", None)
    return resolve(params, Options(**{**left, **own, "decide": "sample"}))
