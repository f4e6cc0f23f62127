"""What optimisers of all runs have in common: the rate, and clipped gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax


def warmup_cosine(learning_rate: float, warmup: int, steps: int) -> optax.Schedule:
    """A rate that rises linearly, then falls to zero along a cosine.

    Args:
        learning_rate: its peak.
        warmup: steps until there.
        steps: of the whole schedule, the warm-up included.

    Returns:
        The schedule.
    """
    return optax.warmup_cosine_decay_schedule(0.0, learning_rate, warmup, steps)


def clipped(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimiser that is shown gradients of a norm of at most 1."""
    return optax.chain(optax.clip_by_global_norm(1.0), optimizer)


def clipped_adamw(
    rate: optax.Schedule,
    weight_decay: float,
    mask: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """AdamW with clipped gradients.

    Args:
        rate: the learning rate.
        weight_decay: of the weights that decay.
        mask: which ones do; all of them unless given.

    Returns:
        The optimiser.
    """
    return clipped(optax.adamw(rate, weight_decay=weight_decay, mask=mask))


@functools.cache
def adamw_for_kernels(
    learning_rate: float, warmup: int, steps: int, weight_decay: float
) -> optax.GradientTransformation:
    """AdamW with clipped gradients, a warm-up and a cosine to zero.

    Kernels decay. Biases, norms, modulations and embeddings do not.

    Args:
        learning_rate: its peak.
        warmup: steps of linear warm-up.
        steps: of the whole schedule.
        weight_decay: of the kernels.

    Returns:
        The optimiser, the same object for the same numbers.
    """

    def kernels(weights: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: getattr(path[-1], "key", None) == "kernel", weights
        )

    rate = warmup_cosine(learning_rate, warmup, steps)
    return clipped_adamw(rate, weight_decay, kernels)


@functools.cache
def muon_for_blocks(
    learning_rate: float, warmup: int, steps: int
) -> optax.GradientTransformation:
    """Muon for the blocks' matrices, Adam for everything else, cosine to zero.

    Matrices of all blocks are stacked; each layer's is orthogonalised by itself.
    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks".

    Args:
        learning_rate: Muon's peak; Adam's, for vectors and embeddings, is a tenth.
        warmup: steps of linear warm-up.
        steps: of the whole schedule.

    Returns:
        The optimiser, the same object for the same numbers.
    """
    rate = warmup_cosine(learning_rate, warmup, steps)

    def matrices(weights: Any) -> Any:
        def kind(path: Any, x: jax.Array) -> Any:
            names = [getattr(key, "key", None) for key in path]
            if "blocks" in names and names[-1] == "kernel":
                return optax.contrib.MuonDimensionNumbers(1, 2)
            return None

        return jax.tree_util.tree_map_with_path(kind, weights)

    return clipped(
        optax.contrib.muon(
            rate,
            adam_learning_rate=lambda count: 0.1 * rate(count),
            muon_weight_dimension_numbers=matrices,
        )
    )
