"""A small model, and sequences of noise for it."""

from __future__ import annotations

import jax
import numpy as np

from jax_stepcache.models.dreamzero import (
    DreamZeroModel,
)
from jax_stepcache.models.dreamzero.training import (
    Chunks,
)
from jax_stepcache.models.dreamzero.training.chunks import chunks_struct

from ..small import SMALL

MODEL = DreamZeroModel(SMALL, (4, 4))


BLOCKS = 2


FRAMES = 1 + BLOCKS * SMALL.num_frame_per_block


def random_chunks(model: DreamZeroModel, count: int, blocks: int = BLOCKS) -> Chunks:
    """Sequences of noise, but for actions, which stay in range."""
    rng = np.random.default_rng(0)
    chunks = jax.tree.map(
        lambda x: rng.standard_normal(x.shape, np.float32),
        chunks_struct(model, count, blocks),
    )
    return chunks._replace(action=np.tanh(chunks.action))
