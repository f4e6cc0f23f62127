"""What a fit of a table has reached, in a file to go on from."""

from __future__ import annotations

import hashlib
import os
import zipfile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import fetched
from jax_stepcache.paths import as_path

_WHOSE = "of"


class Progressed(NamedTuple):
    """Where a fit stands.

    Attributes:
        step: steps taken.
        now: how far each output's table is moved.
        mean: the same, of the last steps: less noise of the samples that each saw.
        adam: the optimiser's state.
        best: the move that was best on held-out samples.
        loss: its loss there.
        idle: looks since then.
        scale: float32[free, free], directions that steps are taken along.
        backs: how often it went back to the best.
    """

    step: int
    now: Any
    mean: Any
    adam: Any
    best: Any
    loss: float
    idle: int
    scale: Any
    backs: int


def mark_of(*asked: Any) -> str:
    """A fit's mark: what tells it from others.

    Args:
        *asked: pytrees of arrays: where it starts, what it should come near to, on
            which samples, and what weighs how much.

    Returns:
        64 hexadecimal digits.
    """
    mark = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(asked):
        told = np.ascontiguousarray(fetched(x))
        mark.update(repr((str(path), told.shape, str(told.dtype))).encode())
        mark.update(told.tobytes())
    return mark.hexdigest()


def write_state(path: str | os.PathLike[str], state: Progressed, mark: str) -> None:
    """Writes where a fit stands, under a temporary name that is renamed then.

    Args:
        path: of the file.
        state: where it stands.
        mark: of which fit, see `mark_of`.
    """
    target = as_path(path, "resume")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    leaves = jax.device_get(jax.tree.leaves(state))
    arrays: dict[str, Any] = {f"leaf{i}": np.asarray(x) for i, x in enumerate(leaves)}
    arrays[_WHOSE] = np.asarray(mark)
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, target)


def read_state(path: str | os.PathLike[str], like: Progressed, mark: str) -> Progressed:
    """Reads where a fit stood.

    Args:
        path: of the file; one that is not there has reached nothing.
        like: the state at the start.
        mark: see `write_state`.

    Returns:
        The state.

    Raises:
        ValueError: for a file that is damaged, or of another fit.
    """
    target = as_path(path, "resume")
    if not target.exists():
        return like
    leaves, structure = jax.tree.flatten(like)
    try:
        with np.load(target, allow_pickle=False) as file:
            whose = str(file[_WHOSE])
            read = [file[f"leaf{i}"] for i in range(len(file.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{target} is cut short, or is no such file: {error}"
        ) from None
    same = [np.shape(x) for x in read] == [np.shape(x) for x in leaves]
    if whose != mark or not same:
        raise ValueError(
            f"{target} is of another fit: another model, start, number of calls, "
            "reference or guidance, other samples, or other weights of outputs "
            "(outputs, pooled). Give resume another name, or remove the file"
        )
    found = jax.tree.unflatten(structure, map(jnp.asarray, read))
    step, loss = int(found.step), float(found.loss)
    counts = {"idle": int(found.idle), "backs": int(found.backs)}
    return found._replace(step=step, loss=loss, **counts)
