"""What the small DreamZeros of all worlds learn by."""

from __future__ import annotations

from ..dreamzero.training import FlowMatching
from ..dreamzero.training.loss import unrolled
from .model import WorldModel

# Below this noise the sampler never asks: 16 steps at shift 5 end at sigma 0.249.
_WEIGHTED_FROM = 0.2


def flow_matching(
    model: WorldModel, *, shift: float, decoupled: float, dropout: float
) -> FlowMatching:
    """The loss, of chunks.

    Args:
        model: the model.
        shift: timestep shift of the noise levels.
        decoupled: share of chunks whose actions have noise levels of their own.
        dropout: share of chunks without an instruction, for guidance.

    Returns:
        The loss, in which the first frame, which sees only itself, does not count.
    """
    return FlowMatching(
        unrolled(model),
        shift=shift,
        bell=False,
        decoupled=decoupled,
        dropout=dropout,
        first_frame=False,
        floor=_WEIGHTED_FROM,
    )
