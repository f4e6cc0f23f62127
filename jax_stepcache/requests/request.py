"""A request, of what users write for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax_stepcache.errors import brief, unknown_name
from jax_stepcache.options import ELSEWHERE, Request


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
        if name not in known:
            kind = "field of a request"
            raise ValueError(unknown_name(kind, name, known, ELSEWHERE))
    return Request(**given)
