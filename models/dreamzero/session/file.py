"""Sessions on disk."""

from __future__ import annotations

import json
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.check import check_arrays
from jax_stepcache.checkpoints.layers import are_apart, put_together, taken_apart
from jax_stepcache.checkpoints.weights import load_weights, save_weights
from jax_stepcache.processes import gathered

from ..network.kv_cache import KVCache
from ..network.published import Size
from .session import Session, session_struct


def save_session(path: str | os.PathLike[str], session: Session) -> None:
    """Writes a session to a safetensors file, under a temporary name first.

    Args:
        path: the file.
        session: the session, of one robot or several.
    """
    metadata = {"kind": "session", "robots": json.dumps(session.batch)}
    save_weights(path, arrays_of(session), metadata)


def arrays_of(session: Session) -> dict[str, Any]:
    """The arrays of a session by name, as files have them.

    Args:
        session: the session.

    Returns:
        What `session_of` takes.
    """
    return _named(put_together(gathered(session)) if are_apart(session) else session)


def load_session(
    path: str | os.PathLike[str], size: Size, guided: bool, apart: bool = False
) -> Session:
    """Reads a session, bit for bit.

    Args:
        path: the file.
        size: of the model it is for.
        guided: whether it must have rows of the unconditional branch.
        apart: whether each layer is to have keys and values of its own.

    Returns:
        The session, on the default device.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is cut short, no session, or one of another model.
    """
    arrays, metadata = load_weights(path)
    if metadata.get("kind") != "session":
        raise ValueError(f"{path} holds no session; its header has {sorted(metadata)}")
    try:
        robots = json.loads(metadata["robots"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} does not say of how many robots it is") from error
    if type(robots) is not int or robots < 1:
        raise ValueError(f"{path} says that it is of {robots!r:.80} robots")
    return session_of(path, arrays, session_struct(size, robots, guided), apart)


def session_of(
    path: str | os.PathLike[str], arrays: dict[str, Any], wanted: Session, apart: bool
) -> Session:
    """Makes a session of a file's arrays.

    Args:
        path: the file, for errors.
        arrays: as from `arrays_of`, read again.
        wanted: the structure, with layers stacked.
        apart: whether each layer is to have keys and values of its own.

    Returns:
        The session, on the default device.

    Raises:
        ValueError: if it is one of another model.
    """
    # Files from before it was noted; nothing that they hold was looked at.
    broken = wanted.cache.broken
    arrays.setdefault("cache/broken", np.zeros(broken.shape, broken.dtype))
    try:
        check_arrays(arrays, _named(wanted), "session")
        dtypes = jax.tree.map(lambda a, b: a.dtype == b.dtype, arrays, _named(wanted))
        if not all(jax.tree.leaves(dtypes)):
            raise ValueError("its arrays have another dtype than the model's")
    except ValueError as error:
        raise ValueError(f"{path} is of another model or guidance: {error}") from error
    named = [arrays[name] for name in _named(wanted)]
    session = jax.tree.unflatten(jax.tree.structure(wanted), named)
    if apart:
        k, v, *rest = session.cache
        session = session._replace(
            context=taken_apart(session.context),
            cache=KVCache(taken_apart(k), taken_apart(v), *rest),
        )
    return jax.tree.map(jnp.asarray, session)


def _named(session: Session) -> dict[str, Any]:
    """The arrays by name; with slashes, for dots would nest."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(session)
    }
