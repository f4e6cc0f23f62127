"""Gates: run the network at this step, or reuse."""

from jax_stepcache.gates.base import Gate, Verdict
from jax_stepcache.gates.mask import Mask
from jax_stepcache.gates.tiers import Tiers, TiersState

__all__ = ["Gate", "Mask", "Tiers", "TiersState", "Verdict"]
