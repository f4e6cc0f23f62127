"""What a policy sees of a step, around the network and within it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax


class Inside(NamedTuple):
    """What a policy sees inside the network at one step, of one guidance branch.

    Attributes:
        hidden: pytree of [batch, tokens, dim] arrays, what enters the span.
        first: what the blocks before the span have added, like ``hidden``.
        modulated: [batch, ...], the modulated input of block 0; None where the network
            does not offer it.
        sigma: float32 scalar, the noise level of the output that signals look at.
        branches: int32 scalar, how many guidance branches a step has; each is a forward
            of its own in the originals.
        times: what the network makes of the timestep alone, arrays [batch, ...] by
            name; None where it does not offer them.
    """

    hidden: Any
    first: Any
    modulated: jax.Array | None
    sigma: jax.Array
    branches: jax.Array
    times: Mapping[str, jax.Array] | None = None


class View(NamedTuple):
    """What a policy sees of a step.

    Attributes:
        step: int32 scalar, the index of the step.
        sigma: the noise level of each output, float32 scalars in the sample's
            structure.
        sample: the current sample.
        inside: what there is to see inside the network; None for policies of the whole
            forward.
    """

    step: jax.Array
    sigma: Any
    sample: Any
    inside: Inside | None = None

    @property
    def entering(self) -> Any:
        """What goes into the span; what is reused has its structure and shapes."""
        return self.sample if self.inside is None else self.inside.hidden
