"""Numbers of the host on their way to the devices, where JAX is told to watch them."""

from __future__ import annotations

from typing import Any

import jax

from jax_stepcache.meshes.beside import all_over_the_mesh
from jax_stepcache.processes import put

_GUARD = "jax_transfer_guard_host_to_device"


def sent(tree: Any, beside: Any = None) -> Any:
    """A tree without arrays of the host, where these may not be sent in passing.

    A compiled call takes thresholds, masks and keys along by itself, the quickest way
    to send them. Under `jax.transfer_guard` that is refused, for it cannot be told from
    a slip; so they are sent explicitly then.

    Args:
        tree: what a compiled function is to be called with.
        beside: a tree of arrays; if one lies on a mesh, the numbers go to all of it.

    Returns:
        The tree.
    """
    if getattr(jax.config, _GUARD, None) in (None, "allow"):
        return tree
    where = all_over_the_mesh((tree, beside))

    def send(x: Any) -> Any:
        return x if isinstance(x, jax.Array) else put(x, where)

    return jax.tree.map(send, tree)
