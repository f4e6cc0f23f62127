"""Weights of blocks: stacked along a leading layer axis, or apart, an array a layer.

Files are stacked, and so are weights that are trained or used on a CPU, where one
`lax.scan` runs all blocks. On a GPU the scan copies each layer's slices before it reads
them; weights that are apart are read where they lie.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_stepcache.checkpoints.placement import STACKED
from jax_stepcache.errors import unknown_name

LAYERS = ("stacked", "apart")
"""How the weights of blocks are kept."""


@jax.tree_util.register_pytree_with_keys_class
class Layers(tuple):
    """One array a layer, in place of an array with a leading layer axis."""

    __slots__ = ()

    def tree_flatten_with_keys(self) -> tuple[list[tuple[Any, Any]], None]:
        """See `jax.tree_util.register_pytree_with_keys`."""
        return [(jax.tree_util.SequenceKey(i), x) for i, x in enumerate(self)], None

    @classmethod
    def tree_unflatten(cls, _: None, layers: Any) -> Layers:
        """Likewise."""
        return cls(layers)


def is_apart(x: Any) -> bool:
    """Whether something is one array a layer, and neither a tree nor an array."""
    return isinstance(x, Layers)


def are_apart(tree: Any) -> bool:
    """Whether any array of a tree is one a layer."""
    return any(map(is_apart, jax.tree.leaves(tree, is_leaf=is_apart)))


def taken_apart(tree: Any) -> Any:
    """What belongs to blocks, an array a layer.

    Args:
        tree: pytree of [layers, ...] arrays, or of structs; what is apart stays so.

    Returns:
        The same tree with `Layers` in place of each array.
    """

    def take(x: Any) -> Any:
        if is_apart(x):
            return x
        if isinstance(x, jax.ShapeDtypeStruct):
            one = jax.ShapeDtypeStruct(x.shape[1:], x.dtype)
            return Layers([one] * x.shape[0])
        return Layers(x[i] for i in range(x.shape[0]))

    return jax.tree.map(take, tree, is_leaf=is_apart)


def put_together(tree: Any) -> Any:
    """The inverse of `taken_apart`; arrays of the host stay there."""

    def put(x: Any) -> Any:
        if not is_apart(x):
            return x
        if isinstance(x[0], jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct((len(x), *x[0].shape), x[0].dtype)
        return (np if isinstance(x[0], np.ndarray) else jnp).stack(x)

    return jax.tree.map(put, tree, is_leaf=is_apart)


def layers_apart(weights: Any, *, consume: bool = False) -> Any:
    """A model's weights with those of its blocks apart.

    Args:
        weights: nested dict of arrays.
        consume: whether the stacked arrays are deleted, each once it has been taken
            apart, so that the device never holds all of them twice.

    Returns:
        The weights; what is apart or no weight of blocks is as it was.
    """

    def take(x: Any) -> Any:
        if not isinstance(x, jax.Array):
            return taken_apart(x)
        where = x.sharding
        if isinstance(where, NamedSharding):
            where = NamedSharding(where.mesh, PartitionSpec(*where.spec[1:]))
        parts = Layers(jax.device_put(x[i], where) for i in range(x.shape[0]))
        if consume:
            jax.block_until_ready(parts)
            x.delete()
        return parts

    def each(blocks: Any) -> Any:
        return jax.tree.map(
            lambda x: x if is_apart(x) else take(x), blocks, is_leaf=is_apart
        )

    return _with_blocks(weights, each)


def layers_together(weights: Any) -> Any:
    """A model's weights with those of its blocks stacked."""
    return _with_blocks(weights, put_together)


def stacked_shape(x: Any) -> tuple[int, ...]:
    """The shape of an array, of what is apart as if it were stacked."""
    return (len(x), *jnp.shape(x[0])) if is_apart(x) else jnp.shape(x)


def wanted_layers(layers: str | None, mesh: Mesh | None) -> str:
    """How weights of blocks are kept, see `load_params`.

    Args:
        layers: ``"stacked"``, ``"apart"``, or None for the latter on GPUs and the
            former elsewhere.
        mesh: the devices; None for the default device.

    Returns:
        One of the two.

    Raises:
        ValueError: for another word.
    """
    if layers is not None and layers not in LAYERS:
        raise ValueError(unknown_name("layers", layers, LAYERS))
    if layers is None:
        if mesh is not None and not isinstance(mesh, Mesh):
            raise TypeError(
                f"mesh must be a jax.sharding.Mesh, got {type(mesh).__name__}"
            )
        device = jax.local_devices()[0] if mesh is None else mesh.devices.flat[0]
        return "apart" if device.platform == "gpu" else "stacked"
    return layers


def _with_blocks(weights: Any, change: Any) -> Any:
    """Weights with those of the blocks changed; of several networks, those of each."""
    if not isinstance(weights, dict):
        return weights
    if STACKED in weights:
        return {**weights, STACKED: change(weights[STACKED])}
    return {
        name: _with_blocks(part, change)
        if isinstance(part, dict) and STACKED in part
        else part
        for name, part in weights.items()
    }
