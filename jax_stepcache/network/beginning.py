"""What sampling begins from: noise, or a sample that there is, mixed with it."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jax_stepcache.check import (
    batch_size,
    check_arrays,
    check_floating,
    check_key,
    check_leaves,
    structs_of,
)
from jax_stepcache.network.inputs import default_key
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.solvers.strength import noised


def check_beginning(init_sample: Any, strength: Any) -> None:
    """Checks that both are given, or neither.

    Raises:
        ValueError: if one is missing, or the sample is none.
        TypeError: for what is no array.
    """
    if init_sample is None and strength is None:
        return
    if init_sample is None:
        raise ValueError(
            f"strength is {strength}, the share of the steps that a sample is taken "
            "back to noise by: give that sample, init_sample="
        )
    if strength is None:
        raise ValueError(
            "init_sample is what is begun from: give strength=, the share of the steps "
            "that are taken, in (0, 1]"
        )
    check_leaves(init_sample, "init_sample")
    check_floating(init_sample, "init_sample")


def begun(
    model: Any,
    schedule: Any,
    init_sample: Any,
    noise: Any,
    key: jax.Array | None,
) -> Any:
    """The sample at the first noise level of a schedule.

    Args:
        model: the model.
        schedule: from where it begins, see `begun_at`.
        init_sample: pytree of [batch, ...] arrays, or structs.
        noise: like it; drawn unless given.
        key: draws it, or one for each row; None for the one that is usual.

    Returns:
        The arrays; structs where one of both is of them.

    Raises:
        ValueError: if the sample has not the shapes of the model's, or of the noise.
    """
    if noise is not None:
        wanted = structs_of(noise)
    elif isinstance(model, FunctionModel):
        wanted = structs_of(init_sample)
    else:
        wanted = model.noise_struct(batch_size(init_sample, "init_sample"))
    check_arrays(init_sample, wanted, "init_sample")
    leaves = jax.tree.leaves((init_sample, noise))
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in leaves):
        return wanted
    if noise is None:
        key = default_key() if key is None else key
        check_key(key, batch_size(wanted, "init_sample"))
        noise = _drawn(key, tuple(jax.tree.leaves(wanted)))
        noise = jax.tree.unflatten(jax.tree.structure(wanted), noise)
    clean, noise = jax.tree.map(jnp.asarray, (init_sample, noise))
    return noised(clean, noise, schedule)


@functools.partial(jax.jit, static_argnums=1)
def _drawn(key: jax.Array, structs: tuple[Any, ...]) -> Any:
    # Compiled, as within a program: there it is drawn where nothing is begun from.
    return tuple(drawn_like(key, list(structs)))


def drawn_like(key: jax.Array, struct: Any) -> Any:
    """Draws a batch by one key, or each sample by its own as it is drawn alone.

    Args:
        key: a PRNG key, or one for each row.
        struct: pytree of `jax.ShapeDtypeStruct`, [batch, ...].

    Returns:
        Standard normal arrays.
    """
    if not (jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim):
        return draw_noise(key, struct)
    alone = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype), struct
    )
    # One by one: not every kind of key draws the same numbers under `jax.vmap`.
    return jax.lax.map(
        lambda one: jax.tree.map(lambda x: x[0], draw_noise(one, alone)), key
    )


def draw_noise(key: jax.Array, struct: Any) -> Any:
    """Draws the sample at the first sigma.

    Args:
        key: a PRNG key.
        struct: pytree of `jax.ShapeDtypeStruct`.

    Returns:
        Standard normal arrays, from one key for each output.
    """
    leaves, structure = jax.tree.flatten(struct)
    keys = jax.random.split(key, len(leaves))
    drawn = [
        jax.random.normal(k, x.shape, x.dtype)
        for k, x in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)
