"""Where a token is, as sines and cosines."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=8)
def position_embedding(grid: int, features: int) -> np.ndarray:
    """Sinusoids of each token's column and row; fixed, so no weight of the model.

    Args:
        grid: tokens in a row, and in a column.
        features: width, a multiple of four.

    Returns:
        (grid * grid, features) float32, row by row: [sin, cos] of the column, then of
        the row.
    """
    quarter = features // 4
    frequency = 1e4 ** (-np.arange(quarter) / quarter)
    row, column = np.divmod(np.arange(grid * grid), grid)
    angles = [position[:, None] * frequency for position in (column, row)]
    waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    return np.concatenate(waves, axis=1).astype(np.float32)
