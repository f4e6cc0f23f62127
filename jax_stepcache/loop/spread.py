"""A batch over a mesh, where the model has a layout."""

from __future__ import annotations

import jax
from jax.sharding import PartitionSpec

from jax_stepcache.check import batch_size
from jax_stepcache.loop.generation import Generation


def check_placed(generation: Generation) -> None:
    """Checks that weights lie where their model's layout has them, if it has one.

    Args:
        generation: what is to be sampled.

    Raises:
        ValueError: naming the first that does not.
    """
    layout = getattr(generation.program.model, "layout", None)
    if layout is not None:
        layout.check_placed(generation.weights, "weight")


def rows_spec(generation: Generation) -> PartitionSpec:
    """How the rows of what is sampled lie, by the rules of its model's layout.

    Args:
        generation: what is sampled, under `jax.jit`.

    Returns:
        The partition spec of their axis; empty without a layout, or where the mesh of
        the context has other axes.
    """
    layout = getattr(generation.program.model, "layout", None)
    context = jax.sharding.get_abstract_mesh()
    if layout is None or dict(layout.mesh.shape) != dict(context.shape):
        return PartitionSpec()
    return layout.spec(("batch",))


def check_spread(generation: Generation) -> None:
    """Checks, before anything is compiled, that a batch fits its model's layout.

    Args:
        generation: what is to be sampled.

    Raises:
        ValueError: if its rows cannot be cut as the rules say, or weights lie
            elsewhere.
    """
    layout = getattr(generation.program.model, "layout", None)
    if layout is None:
        return
    check_placed(generation)
    what, tree = "the noise", generation.noise
    if tree is None:
        what, tree = "the observation", generation.inputs.observation
    layout.check(what, "batch", batch_size(tree, what))
