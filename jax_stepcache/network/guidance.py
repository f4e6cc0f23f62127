"""Classifier-free guidance around a denoiser, as one stacked batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def stack_branches(conditional: Any, unconditional: Any) -> Any:
    """Stacks two conditions along the batch, the conditional rows first.

    Args:
        conditional: pytree of [batch, ...] arrays.
        unconditional: the same structure and shapes.

    Returns:
        The same structure with [2 * batch, ...] arrays.
    """
    return jax.tree.map(
        lambda a, b: jnp.concatenate([a, b], axis=0), conditional, unconditional
    )


def guide(
    denoise: Callable[[Any], Any],
    sample: Any,
    scale: ArrayLike,
    outputs: Sequence[str] | None,
) -> Any:
    """Asks a denoiser for both branches at once and mixes them.

    ``uncond + scale * (cond - uncond)`` for the guided outputs and ``cond`` for the
    others, as DreamZero guides its video but not its action (Ho and Salimans 2022,
    "Classifier-Free Diffusion Guidance").

    Args:
        denoise: takes a sample of 2 * batch rows, the conditional ones first, to its
            velocity.
        sample: pytree of [batch, ...] arrays.
        scale: the guidance scale; see `mix_branches`.
        outputs: names of the guided outputs; None guides all of them.

    Returns:
        The guided velocity, in the sample's structure.
    """
    return mix_branches(denoise(stack_branches(sample, sample)), scale, outputs)


def mix_branches(rows: Any, scale: ArrayLike, outputs: Sequence[str] | None) -> Any:
    """Mixes what a network has said of both branches; see `guide`.

    Args:
        rows: pytree of [2 * batch, ...] arrays, the conditional rows first.
        scale: the guidance scale, a float32 scalar; or float32[batch], one for each
            row, where 1 takes the conditional branch exactly as it is.
        outputs: names of the guided outputs; None guides all of them.

    Returns:
        The guided velocity, [batch, ...] arrays.
    """
    scale = jnp.asarray(scale)

    def mix(guided: bool, row: jax.Array) -> jax.Array:
        conditional, unconditional = jnp.split(row, 2, axis=0)
        if not guided:
            return conditional
        each = scale.reshape(-1, *(1,) * (row.ndim - 1)) if scale.ndim else scale
        mixed = unconditional + each.astype(row.dtype) * (conditional - unconditional)
        return jnp.where(each == 1, conditional, mixed) if scale.ndim else mixed

    if outputs is None or not isinstance(rows, Mapping):
        return jax.tree.map(lambda row: mix(True, row), rows)
    return {
        name: jax.tree.map(lambda row, name=name: mix(name in outputs, row), part)
        for name, part in rows.items()
    }
