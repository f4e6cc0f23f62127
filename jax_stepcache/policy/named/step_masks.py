"""Step-computation masks (SCM), cache-dit's schedules by name, by bins or as given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType

import numpy as np

from jax_stepcache.check import check_count
from jax_stepcache.errors import unknown_name

Bins = tuple[tuple[int, ...], tuple[int, ...]]
"""Lengths of the runs of steps that compute, and of those between them that reuse."""

_BASE_STEPS = 28

# cache-dit's schedules, for as many steps and fewer.
_BASE: Mapping[str, Bins] = {
    "slow": ((8, 3, 3, 2, 1, 1), (1, 2, 2, 2, 3)),
    "medium": ((6, 2, 2, 2, 2, 1), (1, 3, 3, 3, 3)),
    "fast": ((6, 1, 1, 1, 1, 1), (1, 3, 4, 5, 4)),
    "ultra": ((4, 1, 1, 1, 1), (2, 5, 6, 7)),
}
# For distilled models, which take few steps.
_SHORT: Mapping[str, Bins] = {
    "slow": ((4, 2, 2, 2, 1), (1, 1, 1, 1)),
    "medium": ((4, 2, 1, 1, 1), (1, 1, 2, 2)),
    "fast": ((3, 1, 1, 1, 1), (1, 2, 2, 3)),
    "ultra": ((2, 1, 1, 1, 1), (1, 2, 3, 3)),
}
_NINE: Mapping[str, Bins] = {
    "slow": ((5, 2, 1), (1,)),
    "medium": ((5, 1, 1), (1, 1)),
    "fast": ((4, 1, 1), (1, 2)),
    "ultra": ((3, 1, 1), (2, 2)),
}
_EIGHT: Mapping[str, Bins] = {
    "slow": ((5, 1, 1), (1,)),
    "medium": ((4, 1, 1), (1, 1)),
    "fast": ((3, 1, 1), (1, 2)),
    "ultra": ((2, 1, 1), (2, 2)),
}
_SIX: Mapping[str, Bins] = dict.fromkeys(_BASE, ((3, 1), (2,)))
_FOUR: Mapping[str, Bins] = dict.fromkeys(_BASE, ((2, 1), (1,)))

_EXACT = MappingProxyType({4: _FOUR, 6: _SIX, 8: _EIGHT, 9: _NINE})


def steps_mask(
    num_steps: int,
    policy: str | None = None,
    *,
    compute_bins: Sequence[int] | None = None,
    cache_bins: Sequence[int] | None = None,
) -> np.ndarray:
    """Makes a step-computation mask.

    Args:
        num_steps: length of the mask.
        policy: ``"slow"``, ``"medium"``, ``"fast"`` or ``"ultra"``, in the order of how
            much is skipped.
        compute_bins: instead of a policy, how many steps run in each run of them.
        cache_bins: likewise, how many are skipped behind each.

    Returns:
        bool[num_steps], true where a step computes; true at its end.

    Raises:
        ValueError: for an unknown policy, a step count that has none, or bins that do
            not fit it.
    """
    check_count("num_steps", num_steps, 1)
    by_bins = compute_bins is not None or cache_bins is not None
    if (policy is None) != by_bins or (by_bins and None in (compute_bins, cache_bins)):
        raise ValueError(
            "a steps mask is given by a policy, or by compute bins and cache bins; got "
            f"policy={policy!r}, compute_bins={compute_bins!r}, cache_bins="
            f"{cache_bins!r}"
        )
    if policy is not None:
        bins = _named_bins(policy, num_steps)
    else:
        for name, lengths in (("compute", compute_bins), ("cache", cache_bins)):
            if np.ndim(lengths) != 1:  # pyright: ignore
                raise ValueError(
                    f"scm_{name}_bins is {lengths!r}; it must be a row of whole numbers"
                )
        bins = (tuple(compute_bins or ()), tuple(cache_bins or ()))
        for name, lengths in zip(("compute", "cache"), bins, strict=True):
            for length in lengths:
                check_count(f"a length of scm_{name}_bins", length)
        if sum(map(sum, bins)) < num_steps:
            raise ValueError(
                f"compute bins {list(bins[0])} and cache bins {list(bins[1])} cover "
                f"{sum(map(sum, bins))} steps of {num_steps}; together they must cover "
                "all"
            )
    runs = [
        np.full(length, computes)
        for pair in zip_longest(*bins, fillvalue=0)
        for length, computes in zip(pair, (True, False), strict=True)
    ]
    mask = np.concatenate(runs)[:num_steps]
    mask[-1] = True  # the last step decides about the finest detail
    return mask


def _named_bins(policy: str, num_steps: int) -> Bins:
    if not isinstance(policy, str) or policy not in _BASE:
        raise ValueError(unknown_name("scm_steps_mask_policy", policy, _BASE))
    if num_steps in _EXACT:
        return _EXACT[num_steps][policy]
    if num_steps < 8:
        raise ValueError(
            f"there is no mask {policy!r} of {num_steps} steps; there are masks of 4, "
            "6, and 8 or more. Give scm_compute_bins and scm_cache_bins instead"
        )
    if num_steps < 16:
        return _shortened(_SHORT[policy], num_steps)
    if num_steps > _BASE_STEPS:
        return _shortened(_lengthened(_BASE[policy], num_steps), num_steps)
    return _shortened(_BASE[policy], num_steps)


def _shortened(bins: Bins, num_steps: int) -> Bins:
    """Takes steps off the ends of both lists in turn, the skipped ones first."""
    compute, cache = list(bins[0]), list(bins[1])
    turn = 0
    while sum(compute) + sum(cache) > num_steps:
        shorter = (cache, compute)[turn % 2]
        if shorter:
            shorter[-1] -= 1
            if not shorter[-1]:
                shorter.pop()
        turn += 1
    return tuple(compute), tuple(cache)


def _lengthened(bins: Bins, num_steps: int) -> Bins:
    """Adds to the runs one by one, in proportion, until they cover the steps."""
    grown = [list(bins[0]), list(bins[1])]
    # Grouped as in cache-dit: the last bit of this product decides some masks.
    share = (num_steps / _BASE_STEPS) * 0.5
    while True:
        for i in range(min(map(len, bins))):
            for which in (0, 1):
                grown[which][i] += max(int(bins[which][i] * share), 1)
                if sum(map(sum, grown)) >= num_steps:
                    return tuple(grown[0]), tuple(grown[1])
        grown[0][-1] += 1
        if sum(map(sum, grown)) >= num_steps:
            return tuple(grown[0]), tuple(grown[1])
