"""A run that stops by itself, because its numbers are not finite any more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .data import rows_in_words
from .step import TrainState


class TrainingStopped(FloatingPointError):
    """A loss, a gradient or a weight was not finite.

    Attributes:
        step: steps that were taken before.
        rows: which rows of the data the step saw that was not, or None.
        state: the last good one.
        params: its weights with their model, where whoever began the run adds them.
    """

    def __init__(
        self, message: str, step: int, rows: np.ndarray | None, state: TrainState
    ):
        """Makes the error; see the attributes."""
        super().__init__(message)
        self.step = step
        self.rows = rows
        self.state = state
        self.params: Any = None

    def weights_in(self, folder: Path) -> Path:
        """The file for the last good weights in the folder of a run."""
        return folder / f"weights-step-{self.step}.safetensors"


def stopped(
    step: int,
    losses: Mapping[str, Any],
    state: TrainState,
    *,
    rows: np.ndarray | None,
    sound: np.ndarray,
    source: str,
    folder: Path,
) -> TrainingStopped:
    """Words the error.

    Args:
        step: the step's number, from 0, which is that of the steps taken before.
        losses: the parts of its loss.
        state: the last good one.
        rows: which rows of the data it saw, in the order of its batch; None where
            there are none to name.
        sound: bool[parts], of which parts of the batch all was finite.
        source: what the rows are of.
        folder: where the checkpoints are.

    Returns:
        The error.
    """
    values = {name: float(value) for name, value in losses.items()}
    shown = ", ".join(f"{name} {value:g}" for name, value in values.items())
    if not all(np.isfinite(value) for value in values.values()):
        what = f"the loss is not finite ({shown})"
    elif not sound.all():
        what = f"the gradient is not finite (loss: {shown})"
    else:
        what = f"the new weights are not finite (loss: {shown})"
    where = ""
    if rows is not None:
        if not sound.all():
            rows = rows.reshape(len(sound), -1)[~sound].ravel()
        rows = np.unique(rows)
        where = f" on {rows_in_words(rows.tolist())} of {source}"
    kept = f"the weights of step {step} are kept in {folder}"
    return TrainingStopped(
        f"step {step + 1}: {what}{where}; {kept if step else 'no step was taken'}. "
        "Lower the learning rate, or look at the data",
        step,
        rows,
        state,
    )
