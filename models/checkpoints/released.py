"""What a file or a folder shows before any tensor of it is read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jax_stepcache.checkpoints.shards import INDICES, SINGLES, TensorHeader


def has_tensors(path: Path) -> bool:
    """Whether there may be tensors: in any file, and in a folder of safetensors files.

    Args:
        path: a file, or a folder.

    Returns:
        False for a folder with neither an index nor a single file.
    """
    names = (*INDICES, *SINGLES)
    return not path.is_dir() or any((path / name).is_file() for name in names)


def activations(headers: Iterable[TensorHeader]) -> str:
    """The dtype to compute in, which is that of the tensors.

    Args:
        headers: of the model's tensors.

    Returns:
        ``"bfloat16"`` where all are; otherwise ``"float32"``.
    """
    kinds = {header.dtype for header in headers}
    return "bfloat16" if kinds == {"BF16"} else "float32"
