"""What lies between a robot and a model: small functions that are put in a row.

A transform takes an observation, a mapping of parts with names, and returns one:
`Chain` puts several in a row, `On` applies a function of one array to some parts. Where
a transform loses nothing it has an ``inverse``, and so has a chain of such. Arrays have
any axes in front, for batches of robots and frames; all may stand inside `jax.jit`.
"""

from .chain import Chain, On, Transform
from .crop import CentreCrop
from .normalise import Denormalise, Normalise, denormalised, normalised
from .pictures import FromUint8, ToUint8
from .relative import ToAbsolute, ToRelative
from .resize import Resize
from .resize_fixed_point import ResizeFixedPoint

__all__ = [
    "CentreCrop",
    "Chain",
    "Denormalise",
    "FromUint8",
    "Normalise",
    "On",
    "Resize",
    "ResizeFixedPoint",
    "ToAbsolute",
    "ToRelative",
    "ToUint8",
    "Transform",
    "denormalised",
    "normalised",
]
