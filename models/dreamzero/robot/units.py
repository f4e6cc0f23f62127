"""From the robot's units to the network's and back, by the quantiles of its data.

The network sees states and actions between -1 and 1, which stand for the 1st and the
99th percentile of the data it was trained on. A checkpoint carries those percentiles
in ``experiment_cfg/metadata.json``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jax_stepcache.errors import unknown_name

from ...transforms.normalise import denormalised, normalised
from .statistics import Statistics


def normalise_state(
    statistics: Statistics, state: Mapping[str, ArrayLike], max_state_dim: int
) -> jax.Array:
    """Turns the robot's state into what the network takes.

    ``2 * (x - q01) / (q99 - q01) - 1``, clipped to [-1, 1]. A component whose
    quantiles are equal keeps its value, clipped.

    Args:
        statistics: of the robot.
        state: each of the state's keys, (B, n), in the robot's units.
        max_state_dim: width to pad to with zeros, at least the state's.

    Returns:
        float32 (B, 1, max_state_dim): one state per sample.

    Raises:
        ValueError: if keys are missing or unknown, shapes do not fit, or the state is
            wider than ``max_state_dim``.
    """
    _check_room(statistics.state_width, max_state_dim, "state", "max_state_dim")
    raw = jnp.concatenate(list(_state(statistics, state).values()), axis=-1)
    return _padded(normalised(raw, *statistics.state), max_state_dim)[:, None]


def actions_to_robot(
    statistics: Statistics, actions: ArrayLike, state: Mapping[str, ArrayLike]
) -> dict[str, jax.Array]:
    """Turns the network's actions into the robot's.

    ``(x + 1) / 2 * (q99 - q01) + q01``; what lies beyond [-1, 1] is not clamped, so it
    leaves the range between the quantiles. Relative keys have the state added: all
    actions of a chunk the same one.

    Args:
        statistics: of the robot.
        actions: (B, A, action_dim), one chunk of A actions per sample; components past
            the robot's are padding.
        state: each of the state's keys, (B, n), in the robot's units: the state that
            the network was given for this chunk, before it was normalised.

    Returns:
        float32 (B, A, n) for each of the action's keys, in the robot's units, all of
        them absolute. Take them by key: `jax.jit` sorts a dict that it returns.

    Raises:
        ValueError: if the state's keys are missing or unknown, shapes do not fit, or
            the actions are narrower than the robot's.
    """
    reference = _state(statistics, state)
    batch = next(iter(reference.values())).shape[0]
    actions, width = jnp.asarray(actions), statistics.action_width
    fits = actions.ndim == 3 and actions.shape[2] >= width
    if not fits or not jnp.issubdtype(actions.dtype, jnp.floating):
        raise ValueError(
            f"actions must be floating point (B, A, action_dim), action_dim at least "
            f"{width} for {statistics.embodiment.name!r}; got {actions.dtype} "
            f"{actions.shape}"
        )
    if actions.shape[0] != batch:
        raise ValueError(
            f"actions have a batch of {actions.shape[0]}, the state of {batch}"
        )
    said = actions[..., :width].astype(jnp.float32)
    raw = denormalised(said, *statistics.action)
    ends = list(itertools.accumulate(statistics.action_dims))
    robot = statistics.embodiment
    parts = zip(robot.action_keys, jnp.split(raw, ends[:-1], axis=-1), strict=True)
    return {
        key: part + reference[key][:, None] if key in robot.relative_keys else part
        for key, part in parts
    }


def robot_to_actions(
    statistics: Statistics,
    robot_actions: Mapping[str, ArrayLike],
    state: Mapping[str, ArrayLike],
    action_dim: int,
) -> jax.Array:
    """Turns a robot's actions into what the network is trained on.

    The inverse of `actions_to_robot` between the quantiles; what lies beyond them is
    clipped to [-1, 1]. A component whose quantiles are equal keeps its value, clipped.

    Args:
        statistics: of the robot.
        robot_actions: each of the action's keys, (B, A, n), in the robot's units, all
            of them absolute; one chunk of A actions per sample.
        state: each of the state's keys, (B, n), in the robot's units, when the chunk
            begins.
        action_dim: width to pad to with zeros, at least the robot's.

    Returns:
        float32 (B, A, action_dim).

    Raises:
        ValueError: if keys are missing or unknown, shapes do not fit, or the actions
            are wider than ``action_dim``.
    """
    _check_room(statistics.action_width, action_dim, "action", "action_dim")
    reference, robot = _state(statistics, state), statistics.embodiment
    batch = next(iter(reference.values())).shape[0]
    keys, dims = robot.action_keys, statistics.action_dims
    parts = _arrays(robot_actions, keys, dims, "robot_actions", ("B", "A"))
    given = next(iter(parts.values())).shape[0]
    if given != batch:
        raise ValueError(f"robot_actions have a batch of {given}, the state of {batch}")
    raw = [
        part - reference[key][:, None] if key in robot.relative_keys else part
        for key, part in parts.items()
    ]
    joined = jnp.concatenate(raw, axis=-1)
    return _padded(normalised(joined, *statistics.action), action_dim)


def _state(
    statistics: Statistics, state: Mapping[str, ArrayLike]
) -> dict[str, jax.Array]:
    keys = statistics.embodiment.state_keys
    return _arrays(state, keys, statistics.state_dims, "state", ("B",))


def _arrays(
    given: Mapping[str, ArrayLike],
    keys: tuple[str, ...],
    dims: tuple[int, ...],
    what: str,
    axes: tuple[str, ...],
) -> dict[str, jax.Array]:
    """The given arrays as float32, in the order of the keys.

    Raises:
        ValueError: if the keys are not those, an array does not have the axes and its
            width, the axes differ between arrays, or one holds no real numbers.
    """
    if not isinstance(given, Mapping):
        raise ValueError(
            f"{what} must be a mapping with the keys {list(keys)}, got {type(given)}"
        )
    faults = [f"missing {key!r}" for key in keys if key not in given]
    faults += [unknown_name("key", key, keys) for key in given if key not in keys]
    if faults:
        raise ValueError(f"{what} has the wrong keys: {'; '.join(faults)}")
    arrays = {key: jnp.asarray(given[key]) for key in keys}
    for (key, array), dim in zip(arrays.items(), dims, strict=True):
        wanted = f"({', '.join(axes)}, {dim})"
        if array.ndim != len(axes) + 1 or array.shape[-1] != dim:
            faults.append(f"{key} must have shape {wanted}, got {array.shape}")
        kinds = (jnp.floating, jnp.integer)
        if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
            faults.append(f"{key} must hold real numbers, got {array.dtype}")
    shapes = {key: array.shape for key, array in arrays.items()}
    if not faults and len({shape[:-1] for shape in shapes.values()}) > 1:
        faults.append(f"all need the same ({', '.join(axes)}), got {shapes}")
    if faults:
        raise ValueError(f"{what} does not fit: {'; '.join(faults)}")
    return {key: array.astype(jnp.float32) for key, array in arrays.items()}


def _check_room(used: int, width: int, what: str, name: str) -> None:
    """Checks that the robot's components fit into the network's.

    Raises:
        ValueError: if they do not. The original cuts a state short instead, which
            loses joints without a word.
    """
    if used > width:
        raise ValueError(f"{name} is {width}; the robot's {what} has {used} components")


def _padded(values: jax.Array, width: int) -> jax.Array:
    """Zeros appended to the last axis."""
    room = width - values.shape[-1]
    return jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, room)])
