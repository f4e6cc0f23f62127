"""Options of a configuration, as they come by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from jax_stepcache.errors import unknown_name


def require_known(config: Any, options: Mapping[str, Any], what: str) -> None:
    """Checks the names of options.

    Args:
        config: the dataclass whose fields they are for.
        options: by name.
        what: they are of, for the error.

    Raises:
        ValueError: for a name that no field has, with the nearest that one has.
    """
    names = {field.name for field in fields(config)}
    for name in options:
        if name not in names:
            raise ValueError(unknown_name(f"option of {what}", name, names))
