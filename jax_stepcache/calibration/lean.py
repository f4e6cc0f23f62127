"""Networks whose derivatives remember little: what they had, they compute again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from jax_stepcache.network.stages import STAGES


@dataclass(frozen=True)
class Lean:
    """A model that remembers, for a derivative, what goes into each of its blocks.

    Of a network without stages, what goes into it. Without a derivative it is the model
    itself.

    Attributes:
        model: the model.
    """

    model: Any

    def __getattr__(self, name: str) -> Any:
        """Everything else is the model's."""
        return getattr(self.model, name)

    def denoise(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """See `Model.denoise`."""
        model = self.model
        if any(getattr(model, part, None) is None for part in STAGES):
            whole = jax.checkpoint(
                lambda sample: model.denoise(weights, sample, t, condition)
            )
            return whole(sample)
        hidden, context = model.embed(weights, sample, t, condition)
        for i in range(model.num_blocks):
            # What blocks read besides may be of any type, so it is no argument.
            block = jax.checkpoint(
                lambda hidden, i=i: model.blocks(weights, hidden, context, i, i + 1)
            )
            hidden = block(hidden)
        head = jax.checkpoint(lambda hidden: model.head(weights, hidden, context))
        return head(hidden)
