"""Random tensors, and files of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def random_tensor(
    rng: np.random.Generator, name: str, shape: tuple[int, ...]
) -> np.ndarray:
    """Numbers that keep activations near 1 from layer to layer.

    Args:
        rng: draws them.
        name: of the tensor in a checkpoint.
        shape: its shape.

    Returns:
        float32.
    """
    drawn = rng.standard_normal(shape).astype(np.float32)
    inner = shape[1:-1] if name.endswith(".W") else shape[1:]
    fan = int(np.prod(inner)) if len(shape) > 1 else 1
    if name.endswith(("gamma", "norm.weight")) or (
        len(shape) == 1 and name.endswith("weight")
    ):
        return 1 + np.float32(0.1) * drawn
    if len(shape) == 1:
        return np.float32(0.1) * drawn
    return drawn / np.float32(max(fan, 1) ** 0.5)


def write_tensors(
    file: Path,
    shapes: Mapping[str, tuple[int, ...]],
    rng: np.random.Generator,
    prefix: str = "",
) -> list[str]:
    """Writes random tensors to a safetensors file.

    Args:
        file: to be written.
        shapes: by name.
        rng: draws them.
        prefix: what their names begin with in the file.

    Returns:
        The names in the file.
    """
    tensors = {
        prefix + name: random_tensor(rng, name, shape) for name, shape in shapes.items()
    }
    save_file(tensors, file, {"format": "pt"})
    return list(tensors)


def write_json(file: Path, content: Any) -> None:
    """Writes JSON as people read it."""
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Makes a folder under another name, which gets its own when it is whole.

    Args:
        target: to be made.

    Yields:
        Where to write.

    Raises:
        FileExistsError: if there is something of that name.
    """
    if target.exists():
        raise FileExistsError(f"{target} is there already; give another name")
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.replace(target)
