"""Signals: the number that a gate looks at."""

from jax_stepcache.signals.base import Signal
from jax_stepcache.signals.cosine import Cosine
from jax_stepcache.signals.nothing import Nothing

__all__ = ["Cosine", "Nothing", "Signal"]
