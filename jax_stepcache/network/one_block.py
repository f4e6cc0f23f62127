"""A whole network as the one block of a network in stages."""

from __future__ import annotations

from typing import Any

from jax_stepcache.network.own import naming_rows
from jax_stepcache.policy.span import Span, each_branch


class OneBlock:
    """A network whose tokens are the sample and whose only block is all of it.

    So a policy around each guidance branch is one within the network: what it reuses is
    what the velocity has more than the sample.

    Attributes:
        num_blocks: 1.
    """

    num_blocks = 1

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        """What is no stage is the network's own."""
        return getattr(self.model, name)

    def embed(self, weights: Any, sample: Any, t: Any, condition: Any) -> Any:
        """See `Stages.embed`."""
        del weights
        return sample, (t, condition)

    def blocks(
        self, weights: Any, hidden: Any, context: Any, start: int, stop: int
    ) -> Any:
        """See `Stages.blocks`."""
        del start, stop
        t, condition = context
        with naming_rows(self.model, hidden, condition):
            return self.model.denoise(weights, hidden, t=t, condition=condition)

    def head(self, weights: Any, hidden: Any, context: Any) -> Any:
        """See `Stages.head`."""
        del weights, context
        return hidden

    # These look between stages that it has not.
    modulated = times = None


def in_stages(model: Any, span: Span | None) -> Any:
    """The model as a policy with this span is within it."""
    return OneBlock(model) if each_branch(span) else model
