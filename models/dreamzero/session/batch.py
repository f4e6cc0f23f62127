"""Sessions side by side: put together to step as one, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.errors import naming

from ...layers.stack import shape_of_one
from .session import Session


def check_unused(session: Session) -> None:
    """Checks that a session has not been given away to a step.

    Raises:
        ValueError: if it has.
    """
    for x in jax.tree.leaves(session):
        traced = isinstance(x, Tracer)
        if isinstance(x, jax.Array) and not traced and x.is_deleted():
            raise ValueError(
                "this session has been stepped on and its buffers reused; go on "
                "with the step's session, or step with donate=False"
            )


def stack_sessions(sessions: Sequence[Session]) -> Session:
    """Puts sessions side by side, to step them together.

    Args:
        sessions: of the same model, all with guidance or all without.

    Returns:
        One session of all their robots, in this order.

    Raises:
        ValueError: if there is none, they do not fit together, or one has been stepped
            on.
        TypeError: if it is given a session and not a list of them.
    """
    if isinstance(sessions, Session):
        raise TypeError("stack_sessions takes a list of sessions, got one session")
    if not sessions:
        raise ValueError("stack_sessions needs at least one session")
    for i, session in enumerate(sessions):
        with naming("sessions", i):
            check_unused(session)
    if len({session.guided for session in sessions}) > 1:
        raise ValueError("some of these sessions are guided and some are not")
    kinds = {(x.text.shape[1:], shape_of_one(x.cache.k)[1:]) for x in sessions}
    dtypes = {x.dtype for one in sessions for x in jax.tree.leaves(one.cache[:2])}
    if (
        len(kinds) > 1
        or len(dtypes) > 1
        or len({jax.tree.structure(x) for x in sessions}) > 1
    ):
        raise ValueError("these sessions are of different models")

    def join(path: Any, *leaves: jax.Array) -> jax.Array:
        axis, branches = _layout(path, sessions[0])
        halves = [jnp.split(leaf, branches, axis) for leaf in leaves]
        return jnp.concatenate(
            [half[i] for i in range(branches) for half in halves], axis
        )

    return jax.tree_util.tree_map_with_path(join, *sessions)


def split_sessions(session: Session) -> list[Session]:
    """Takes a session of several robots apart, the inverse of `stack_sessions`.

    Args:
        session: of one robot or more.

    Returns:
        A session of each.

    Raises:
        ValueError: if it has been stepped on.
    """
    check_unused(session)

    def robot(i: int) -> Session:
        def take(path: Any, leaf: jax.Array) -> jax.Array:
            axis, branches = _layout(path, session)
            rows = [i + branch * session.batch for branch in range(branches)]
            return jnp.take(leaf, np.array(rows), axis=axis)

        return jax.tree_util.tree_map_with_path(take, session)

    return [robot(i) for i in range(session.batch)]


def _kind(session: Session) -> tuple[Any, ...]:
    """What sessions of one model have in common."""
    dtypes = {x.dtype for x in jax.tree.leaves(session.cache[:2])}
    shapes = session.text.shape[1:], shape_of_one(session.cache.k)[1:]
    return (*shapes, frozenset(dtypes))


def _layout(path: Any, session: Session) -> tuple[int, int]:
    """The axis of a leaf's rows, and how many branches lie along it."""
    names = [getattr(key, "name", None) for key in path]
    # Stacked: of layers that are apart, the last key is an index.
    per_layer = names[-1] in ("k", "v")
    per_robot = names[0] in ("position", "y")
    return int(per_layer), 1 if per_robot or not session.guided else 2
