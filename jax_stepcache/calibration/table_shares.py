"""What each output's errors weigh in the loss of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache.calibration.quality import decoded
from jax_stepcache.calibration.table_options import TableFit
from jax_stepcache.errors import unknown_name

_POOLED = 0.25
"""The share of an output that is not named; that of `TableFit`."""


def shares_of(fit: TableFit, sample: Any, model: Any) -> jax.Array:
    """What each output's errors weigh, each sample's for itself and all together.

    Args:
        fit: how it is fitted.
        sample: pytree of [batch, ...] arrays, or structs.
        model: theirs, or None. A sample that is one array is named as people see it,
            such as ``"image"``.

    Returns:
        float32[outputs, 2], see `table_loss`.

    Raises:
        ValueError: for an output that there is not, or weights that are all 0.
    """
    names = _names(sample)
    called = names
    if len(names) == 1:
        shown = _names(jax.eval_shape(lambda x: decoded(model, x), sample))
        called = shown if len(shown) == 1 else names
    known = {**dict(zip(called, names, strict=True)), **{name: name for name in names}}
    weights = np.asarray(_of_outputs(fit.outputs, names, known, 1.0))
    pooled = np.asarray(_of_outputs(fit.pooled, names, known, _POOLED))
    if not weights.sum() > 0:
        raise ValueError(
            f"fit's outputs is {dict(fit.outputs or {})}; one output has to weigh more "
            "than 0, or there is nothing to descend"
        )
    weights = weights / weights.sum()
    shares = np.stack([weights * (1 - pooled), weights * pooled], axis=1)
    return jnp.asarray(shares, jnp.float32)


def _names(tree: Any) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]


def _of_outputs(
    given: Any, names: Sequence[str], known: Mapping[str, str], usual: float
) -> list[float]:
    """A number for each output, of one for all or of some by name."""
    if not isinstance(given, Mapping):
        return [usual if given is None else float(given)] * len(names)
    for name in given:
        if name not in known:
            # A sample without a name is called by none in an error.
            raise ValueError(unknown_name("output", name, set(known) - {""} or known))
    told = {known[name]: float(one) for name, one in given.items()}
    return [told.get(name, usual) for name in names]
