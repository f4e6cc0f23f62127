"""The shift of a schedule by the number of tokens, as FLUX has it."""

from __future__ import annotations

import math

from jax_stepcache.check import check_numbers, static_count
from jax_stepcache.errors import naming_arguments


@naming_arguments()
def shift_for_tokens(
    tokens: int,
    *,
    base_tokens: int = 256,
    max_tokens: int = 4096,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
) -> float:
    """The shift for so many tokens: more of them need more noise to be hidden by it.

    Esser et al. 2024, "Scaling Rectified Flow Transformers for High-Resolution Image
    Synthesis", as FLUX does it; diffusers' `calculate_shift` and
    ``use_dynamic_shifting``, whose ``mu`` is the logarithm of this shift.

    Args:
        tokens: of the sample, in the network; at least 1.
        base_tokens: where the logarithm is ``base_shift``.
        max_tokens: where it is ``max_shift``; between them and beyond it is a line.
        base_shift: see there.
        max_shift: see there.

    Returns:
        What `flow_schedule` and `sample` take as ``shift``.

    Raises:
        ValueError: for counts below 1 that are the same, or numbers that are not
            finite.
        TypeError: for a count that is being traced.
    """
    counts = [
        static_count(name, count, 1)
        for name, count in (
            ("tokens", tokens),
            ("base_tokens", base_tokens),
            ("max_tokens", max_tokens),
        )
    ]
    check_numbers("base_shift", base_shift)
    check_numbers("max_shift", max_shift)
    if counts[1] == counts[2]:
        raise ValueError(
            f"base_tokens and max_tokens are both {base_tokens}; a line needs two"
        )
    slope = (max_shift - base_shift) / (counts[2] - counts[1])
    return math.exp(base_shift + slope * (counts[0] - counts[1]))
