"""What a control step is shown, and the checks of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jax_stepcache.check import check_arrays, fetched
from jax_stepcache.errors import unknown_name
from jax_stepcache.loop.transfers import sent

from ..network.config import DreamZeroConfig
from ..network.published import Size


class Observation(NamedTuple):
    """What a control step is shown, complete; `complete` makes it.

    Attributes:
        latents: (B, C, frames of a block, H, W), the frames observed since the last
            step; unread in a row that begins a window.
        first: (B, C, 1, H, W), the first frame of a window; unread in other rows.
        state: (B, num_state_per_block, max_state_dim), normalised.
        image: (B, image_len, image_dim) features of the first frame, or None.
        y: (B, y_dim, window, H, W), or None.
        restart: bool[B], whether to begin a window at any position.
    """

    latents: jax.Array
    first: jax.Array
    state: jax.Array
    image: jax.Array | None
    y: jax.Array | None
    restart: jax.Array


def begins_window(config: DreamZeroConfig, position: Any) -> Any:
    """Whether a session at this position begins a window, full or not yet begun."""
    return (position == 0) | (position >= config.window)


def complete(
    size: Size, position: jax.Array | np.ndarray, given: Mapping[str, Any]
) -> Observation:
    """Checks an observation, and fills what is not read with zeros.

    Args:
        size: of the model.
        position: int32[B], of the sessions it is for.
        given: fields of `Observation`: ``state`` always; ``latents`` for robots in the
            middle of a window; for those that begin one, ``image`` and ``y`` where the
            model takes them; for a model without ``y``, ``first``.

    Returns:
        All of the fields.

    Raises:
        ValueError: for fields that are missing, unknown or do not fit the sessions.
    """
    wanted = observation_struct(size, len(position))
    allowed = [k for k, x in wanted.items() if x is not None]
    if not isinstance(given, Mapping):
        raise ValueError(
            f"observation is a {type(given).__name__}; give a mapping with {allowed}"
        )
    fields: dict[str, Any] = {k: x for k, x in given.items() if x is not None}
    for name in fields:
        if name not in allowed:
            raise ValueError(unknown_name("part of the observation", name, allowed))
    for name, x in fields.items():
        if wanted[name].dtype == jnp.bool_:
            _check_restart(x, len(position))
        else:
            check_arrays(x, wanted[name], f"observation[{name!r}]")
    _require(size, position, fields)
    for name in set(allowed) - set(fields):
        fields[name] = np.zeros(wanted[name].shape, wanted[name].dtype)
    if size.dit.concat_first_frame_latent:
        y = fields["y"]
        first = _first_on_device if isinstance(y, jax.Array) else _first_of
        fields["first"] = first(y, size.dit.out_dim)
    # Arrays of the host go along with the compiled call that reads them.
    fields = {
        name: x if isinstance(x, jax.Array | np.ndarray) else jnp.asarray(x)
        for name, x in sent(fields).items()
    }
    filled: dict[str, Any] = {**dict.fromkeys(Observation._fields), **fields}
    return Observation(**filled)


def _first_of(y: Any, channels: int) -> Any:
    """The first frame, which the conditioning latents of a window hold."""
    return y[:, -channels:, :1]


# Eagerly, to slice an array on a device takes the host many times as long.
_first_on_device = jax.jit(_first_of, static_argnums=1)


def observation_struct(size: Size, batch: int) -> dict[str, Any]:
    """Shapes and dtypes of all fields of an `Observation`.

    Args:
        size: of the model.
        batch: robots B.

    Returns:
        A struct for each field; None for those that the model does not take.
    """
    c, struct = size.dit, jax.ShapeDtypeStruct
    frame = (batch, c.out_dim, 1, *size.latent_size)
    latents = (batch, c.out_dim, c.num_frame_per_block, *size.latent_size)
    state = (batch, c.num_state_per_block, c.max_state_dim)
    image = None if c.image_dim is None else (batch, c.image_len, c.image_dim)
    y = (batch, c.y_dim, c.window, *size.latent_size)
    shapes = {
        "latents": latents,
        "first": None if c.concat_first_frame_latent else frame,
        "state": state,
        "image": image,
        "y": y if c.concat_first_frame_latent else None,
    }
    wanted: dict[str, Any] = {
        name: None if shape is None else struct(shape, jnp.float32)
        for name, shape in shapes.items()
    }
    return wanted | {"restart": struct((batch,), jnp.bool_)}


def _require(
    size: Size,
    position: jax.Array | np.ndarray,
    fields: Mapping[str, Any],
) -> None:
    """Checks that what will be read is there; inside a trace, all must be."""
    c = size.dit
    if isinstance(position, Tracer):
        begins, reads = np.ones(1, bool), ["latents"]  # it may be anywhere
    else:
        begins = begins_window(c, jax.device_get(position))
        restart = fields.get("restart")
        if restart is not None and not isinstance(restart, Tracer):
            begins = begins | np.asarray(fetched(restart), bool)
        reads = [] if begins.all() else ["latents"]
    reads.append("state")
    if begins.any():
        reads += ["image"] if c.image_dim is not None else []
        reads += ["y"] if c.concat_first_frame_latent else ["first"]
    missing = [name for name in reads if name not in fields]
    if missing:
        where = (
            f"; robots {np.flatnonzero(begins).tolist()} begin a window, at positions "
            f"{np.asarray(position)[begins].tolist()}"
            if begins.any() and not isinstance(position, Tracer)
            else ""
        )
        raise ValueError(f"the observation lacks {missing}{where}")


def _check_restart(restart: Any, batch: int) -> None:
    if not hasattr(restart, "dtype"):
        raise ValueError(
            f"observation['restart'] is a {type(restart).__name__}; give an array, "
            f"bool[{batch}]"
        )
    if restart.shape != (batch,) or restart.dtype != jnp.bool_:
        raise ValueError(
            f"observation['restart'] is {restart.dtype}{list(restart.shape)}; give "
            f"bool[{batch}]"
        )
