"""Gates: run the span at this step, or reuse."""

from jax_stepcache.gates.accumulate import Accumulate
from jax_stepcache.gates.always import Always
from jax_stepcache.gates.base import Gate, Verdict, needs_signal
from jax_stepcache.gates.below import Below
from jax_stepcache.gates.combinators import (
    ForcedSteps,
    LastStep,
    MaxConsecutive,
    MaxSkips,
    WarmUp,
)
from jax_stepcache.gates.magnitude import Magnitude
from jax_stepcache.gates.mask import Mask
from jax_stepcache.gates.tiers import Tiers, TiersState

__all__ = [
    "Accumulate",
    "Always",
    "Below",
    "ForcedSteps",
    "Gate",
    "LastStep",
    "Magnitude",
    "Mask",
    "MaxConsecutive",
    "MaxSkips",
    "Tiers",
    "TiersState",
    "Verdict",
    "WarmUp",
    "needs_signal",
]
