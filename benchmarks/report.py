"""What every benchmark prints and writes."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from jax_stepcache.measure.table import table


def device_name() -> str:
    """The hardware, in words: accelerator, or processor and its cores."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    return f"{platform.machine()} CPU, {os.cpu_count()} cores"


def print_table(rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints named rows of figures."""
    header = ["", *next(iter(rows.values()))]
    cells = [[name, *[_figure(x) for x in row.values()]] for name, row in rows.items()]
    print(table(header, cells))


def write_json(path: Path, result: Any) -> None:
    """Writes JSON under a temporary name, then renames it.

    Beside it goes ``<name>.about.json`` with the hardware and the versions, so that the
    result itself keeps the shape that its readers expect.
    """
    about = {
        "device": device_name(),
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
    for target, content in ((path, result), (path.with_suffix(".about.json"), about)):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(content, indent=2) + "\n")
        os.replace(temporary, target)


def _figure(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
