"""Handwritten digits, eight by eight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Digits(NamedTuple):
    """Pictures and what they show.

    Attributes:
        images: (N, 8, 8, 1) float32 in [-1, 1].
        labels: (N,) int32 in [0, 10).
    """

    images: np.ndarray
    labels: np.ndarray


def load_digits() -> Digits:
    """The 1,797 digits that come with scikit-learn; nothing is downloaded.

    Raises:
        ImportError: without scikit-learn.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn: pip install 'jax-stepcache[train]'"
        ) from error
    images, labels = datasets.load_digits(return_X_y=True)
    scaled = np.asarray(images, np.float32).reshape(-1, 8, 8, 1) / 8.0 - 1.0
    return Digits(scaled, np.asarray(labels, np.int32))
