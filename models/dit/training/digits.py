"""Handwritten digits, eight by eight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...training.data import look_through, rows_in_words
from ..model import DiTModel


class Digits(NamedTuple):
    """Pictures and what they show.

    Attributes:
        images: (N, 8, 8, 1) float32 in [-1, 1].
        labels: (N,) int32 in [0, 10).
    """

    images: np.ndarray
    labels: np.ndarray


def check_digits(digits: Digits, model: DiTModel) -> None:
    """Looks through pictures and labels before anything is compiled.

    Args:
        digits: the pictures.
        model: the model that is to learn them.

    Raises:
        ValueError: listing what does not fit the model, with the rows.
    """
    images, labels = np.asarray(digits.images), np.asarray(digits.labels)
    shape = (len(labels), *model.noise_struct(1).shape[1:])
    classes = model.config.num_classes
    faults = []
    if not labels.size:
        faults.append("empty: labels has none; there is nothing to learn from")
    if images.shape != shape:
        faults.append(f"shape: images is {images.shape}, the model takes {shape}")
    if not np.issubdtype(images.dtype, np.floating):
        faults.append(f"dtype: images is {images.dtype}, not floating point")
    if not np.issubdtype(labels.dtype, np.integer):
        faults.append(f"dtype: labels is {labels.dtype}, not integer")
    if not faults:
        faults = look_through("images", images).faults
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if wrong.size:
            faults.append(
                f"range: labels has {labels[wrong[0]]} in "
                f"{rows_in_words(wrong.tolist())}; the model's are 0 to {classes - 1}"
            )
    if faults:
        listed = "\n  ".join(faults)
        raise ValueError(f"the digits do not fit the model:\n  {listed}")


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
