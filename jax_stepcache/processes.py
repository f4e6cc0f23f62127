"""Several processes, each with some of the devices, as `jax.distributed` joins them.

All of them make the same calls in the same order. What the host has is the same in each
process; of an array over all devices a process has the parts on its own. Files are read
by all and written by one, the main process, but for what Orbax writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec, Sharding

# What the others raise where the main process could not write; all of them take words.
_ERRORS = (FileExistsError, FileNotFoundError, PermissionError, OSError, TypeError)


def are_several() -> bool:
    """Whether there is another process than this one."""
    return jax.process_count() > 1


def is_main() -> bool:
    """Whether this process writes what is written once, and prints."""
    return jax.process_index() == 0


def put(x: Any, where: Sharding | None) -> jax.Array:
    """Puts an array where it belongs, also on devices of other processes.

    Args:
        x: an array that is the same in every process, or one over all of them already.
        where: the sharding; None for the default device.

    Returns:
        The array. Each process sends to its own devices what lies there; that the
        others have the same is not looked at, for that would send all of it around.
    """
    if where is None or where.is_fully_addressable or _is_spread(x):
        return jax.device_put(x, where)
    if _is_key(x):
        numbers = put(jax.device_get(jax.random.key_data(x)), where)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(x))
    host = np.asarray(x)
    host = host.astype(jax.dtypes.canonicalize_dtype(host.dtype), copy=False)
    return jax.make_array_from_callback(host.shape, where, host.__getitem__)


def put_all(tree: Any, where: Any) -> Any:
    """`put` for a tree.

    Args:
        tree: pytree of arrays.
        where: a sharding for all, or a tree of them.

    Returns:
        The tree.
    """
    if not are_several():
        return jax.device_put(tree, where)
    if isinstance(where, Sharding):
        return jax.tree.map(lambda x: put(x, where), tree)
    return jax.tree.map(put, tree, where)


def whole_everywhere(tree: Any) -> Any:
    """Arrays that every process can read, each from a device of its own.

    Args:
        tree: pytree of small arrays, such as statistics. All processes call this.

    Returns:
        The tree; with one process it is as it was.
    """
    if not are_several():
        return tree

    def whole(x: Any) -> Any:
        if not _is_spread(x) or x.is_fully_replicated:
            return x
        return jax.device_put(x, NamedSharding(x.sharding.mesh, PartitionSpec()))

    return jax.tree.map(whole, tree)


def gathered(tree: Any) -> Any:
    """Arrays on the host, each of them whole.

    Args:
        tree: pytree of arrays. All processes call this, and each has all of it then.

    Returns:
        The tree, of NumPy arrays. What no host can hold as such, PRNG keys with a type,
        stays a `jax.Array`.
    """
    if not are_several():
        return jax.device_get(tree)
    from jax.experimental.multihost_utils import process_allgather

    def gather(x: Any) -> Any:
        if _is_key(x):
            numbers = gather(jax.random.key_data(x))
            return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(x))
        if not _is_spread(x) or x.is_fully_replicated:
            return jax.device_get(x)
        return process_allgather(x, tiled=True)

    return jax.tree.map(gather, tree)


def by_main(do: Callable[[], Any]) -> Any:
    """The main process does something with files, and the others wait for it.

    Args:
        do: what to do; what it returns is known to JSON. All processes call this.

    Returns:
        What it has returned, in every process.

    Raises:
        ValueError: in every process, where it does in the main one.
        OSError: likewise; and likewise TypeError.
    """
    if not are_several():
        return do()
    raised: Exception | None = None
    words = ""
    if is_main():
        try:
            words = json.dumps({"done": do()})
        except Exception as error:
            raised = error
            words = json.dumps({"error": _kind(error).__name__, "words": str(error)})
    said = json.loads(_told_by_main(words))
    if "error" in said and raised is None:
        kinds = {kind.__name__: kind for kind in (*_ERRORS, ValueError)}
        raised = kinds[said["error"]](said["words"])
    if raised is not None:
        raise raised
    return said["done"]


def _told_by_main(words: str) -> str:
    """What the main process says, in all."""
    from jax.experimental.multihost_utils import broadcast_one_to_all

    said = np.frombuffer(words.encode(), np.uint8)
    length = int(broadcast_one_to_all(np.int32(said.size)))
    heard = broadcast_one_to_all(said if is_main() else np.zeros(length, np.uint8))
    return bytes(np.asarray(heard)).decode()


def _kind(error: Exception) -> type[Exception]:
    return next((kind for kind in _ERRORS if isinstance(error, kind)), ValueError)


def _is_key(x: Any) -> bool:
    """Whether an array holds PRNG keys with a type, as `jax.random.key` makes them."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def _is_spread(x: Any) -> bool:
    """Whether an array lies on devices of other processes, too."""
    return (
        isinstance(x, jax.Array)
        and not isinstance(x, Tracer)
        and not x.is_fully_addressable
    )
