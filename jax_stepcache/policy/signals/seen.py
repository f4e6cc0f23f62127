"""The state of signals that compare a step with the one before it."""

from __future__ import annotations

from typing import NamedTuple

import jax


class SeenState(NamedTuple):
    """What was seen last.

    Attributes:
        last: what was seen at the last step, computed or not.
        seen: bool scalar, whether there was one.
    """

    last: jax.Array
    seen: jax.Array
