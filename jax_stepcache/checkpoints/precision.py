"""The dtypes that weights are cast to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax_stepcache.errors import unknown_name

if TYPE_CHECKING:
    from jax.typing import DTypeLike

DTYPES = ("bfloat16", "float32")


def precision(dtype: DTypeLike | None) -> str | None:
    """Checks a dtype for weights.

    Args:
        dtype: a name or a dtype; None for whatever the checkpoint has.

    Returns:
        Its name, or None.

    Raises:
        ValueError: for any other than bfloat16 and float32.
    """
    # Here, because the help of ``jax-stepcache`` lists the dtypes without JAX.
    import jax.numpy as jnp

    if dtype is None:
        return None
    try:
        name = jnp.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name not in DTYPES:
        raise ValueError(unknown_name("dtype", name, DTYPES))
    return name
