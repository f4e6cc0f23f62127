"""Gates: run the span at this step, or reuse."""

from jax_stepcache.policy.gates.accumulate import Accumulate
from jax_stepcache.policy.gates.always import Always
from jax_stepcache.policy.gates.base import Gate, Verdict, needs_signal
from jax_stepcache.policy.gates.below import Below
from jax_stepcache.policy.gates.combinators import (
    ForcedSteps,
    LastStep,
    MaxConsecutive,
    MaxSkips,
    WarmUp,
)
from jax_stepcache.policy.gates.every import Every
from jax_stepcache.policy.gates.magnitude import Magnitude
from jax_stepcache.policy.gates.mask import BranchMask, Mask
from jax_stepcache.policy.gates.tiers import Tiers, TiersState

__all__ = [
    "Accumulate",
    "Always",
    "Below",
    "BranchMask",
    "Every",
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
