"""The cosine of the last two computed velocities, StepCache's signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from jax_stepcache.nodes import register_dataclass
from jax_stepcache.policy.view import View

# PyTorch's cosine_similarity clamps each norm here: zero vectors give 0, not NaN.
_MIN_NORM = 1e-8


class CosineState(NamedTuple):
    """State of `Cosine`.

    Attributes:
        last: the last computed velocity of the outputs that are compared.
        similarity: float32 scalar, its cosine with the one before; 0 until there are
            two.
    """

    last: Any
    similarity: jax.Array


@register_dataclass
@dataclass(frozen=True)
class Cosine:
    """Cosine of the last two computed velocities, averaged over the batch.

    Each sample is flattened, norms and products are summed in float32. The value is
    made when a velocity is recorded, so that one velocity is remembered and not two.

    Attributes:
        output: the output that is compared (``"video"`` in DreamZero, as in the
            originals); None compares every output and takes the lowest, which also
            sees an action that moves while the video stands still.
    """

    looks_at: ClassVar[str] = "velocity"

    output: str | None = field(default=None, metadata={"static": True})

    def init(self, view: View) -> CosineState:
        """See `Signal.init`.

        Raises:
            ValueError: if the sample has no output of the name.
        """
        last = jax.tree.map(jnp.zeros_like, compared_output(view.sample, self.output))
        return CosineState(last, jnp.zeros((), jnp.float32))

    def measure(self, state: CosineState, view: View) -> tuple[jax.Array, CosineState]:
        """See `Signal.measure`."""
        del view
        return state.similarity, state

    def record(self, state: CosineState, view: View, value: Any) -> CosineState:
        """See `Signal.record`."""
        del view
        new = compared_output(value, self.output)
        cosines = jax.tree.leaves(jax.tree.map(cosine_per_sample, state.last, new))
        lowest = jnp.stack(cosines).min(axis=0)
        return CosineState(new, lowest.mean())


def compared_output(tree: Any, output: str | None) -> Any:
    """The output that a signal compares; all of them where none is named.

    Raises:
        ValueError: if there is none of the name.
    """
    if output is None:
        return tree
    if not isinstance(tree, Mapping) or output not in tree:
        has = "no outputs with names"
        if isinstance(tree, Mapping):
            has = str(sorted(tree))
        raise ValueError(
            f"the signal compares the output {output!r}; the sample has {has}"
        )
    return tree[output]


def cosine_per_sample(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosine similarity of two batches.

    Args:
        a: [batch, ...] array.
        b: [batch, ...] array.

    Returns:
        float32[batch].
    """
    a = a.reshape(a.shape[0], -1).astype(jnp.float32)
    b = b.reshape(b.shape[0], -1).astype(jnp.float32)
    # Multiply and sum, not dot: the precision of dot differs by device, and bfloat16
    # reads a true 0.9498 as 0.957, across the threshold.
    dot = jnp.sum(a * b, axis=1)
    norms = [jnp.maximum(jnp.sqrt(jnp.sum(x * x, axis=1)), _MIN_NORM) for x in (a, b)]
    return dot / (norms[0] * norms[1])
