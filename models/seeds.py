"""Seeds of noise, one for each of what is made together."""

from __future__ import annotations

from typing import Any

import numpy as np

from jax_stepcache.errors import brief

# A key takes an int32, and of a larger number only its last bits: another seed's noise.
_LARGEST = 2**31


def seeds_from(seed: Any, count: int, what: str) -> tuple[int, ...]:
    """Counts seeds up from the first, so that each has the noise that it has alone.

    Args:
        seed: the first one.
        count: how many there are to be.
        what: what has them, in the plural, for the error.

    Returns:
        The seeds.

    Raises:
        TypeError: if it is no whole number.
        ValueError: if one of them were another one's: below 0, or no int32.
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole:
        raise TypeError(f"seed is {brief(seed)}; give a whole number")
    first = int(seed)
    if not 0 <= first <= _LARGEST - count:
        more = f", with one more for each of {count} {what}," if count > 1 else ""
        raise ValueError(
            f"seed is {first}; it must be at least 0 and{more} below {_LARGEST}"
        )
    return tuple(range(first, first + count))
