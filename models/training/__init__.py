"""Training, as far as it is the same for all models.

`step` is one optimiser step and `loop` a run of them, with checkpoints; `optimizer` has
the rate and the rules that runs share; `export` writes what came of a run; `command` is
the part of a command line that every training run has.
"""

from .loop import fit
from .step import TrainState

__all__ = ["TrainState", "fit"]
