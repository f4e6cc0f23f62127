"""Signals: the number that a gate looks at."""

from jax_stepcache.policy.signals.base import Signal
from jax_stepcache.policy.signals.cosine import Cosine
from jax_stepcache.policy.signals.embedded_time import EmbeddedTime
from jax_stepcache.policy.signals.first_blocks import FirstBlocks
from jax_stepcache.policy.signals.magnitude_ratio import MagnitudeRatio
from jax_stepcache.policy.signals.modulated_input import ModulatedInput
from jax_stepcache.policy.signals.nothing import Nothing
from jax_stepcache.policy.signals.predicted_change import PredictedChange
from jax_stepcache.policy.signals.probe import Probe
from jax_stepcache.policy.signals.relative_l1 import relative_l1
from jax_stepcache.policy.signals.spectrum import Spectrum

__all__ = [
    "Cosine",
    "EmbeddedTime",
    "FirstBlocks",
    "MagnitudeRatio",
    "ModulatedInput",
    "Nothing",
    "PredictedChange",
    "Probe",
    "Signal",
    "Spectrum",
    "relative_l1",
]
