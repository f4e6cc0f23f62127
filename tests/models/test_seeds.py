"""Seeds of what is made together."""

from __future__ import annotations

import numpy as np
import pytest

from jax_stepcache.models.seeds import seeds_from

LAST = 2**31 - 1


def test_seeds_count_up() -> None:
    """From the first to the last that a key takes, whatever kind of integer it is."""
    assert seeds_from(3, 2, "films") == (3, 4)
    assert seeds_from(np.int32(LAST), 1, "films") == (LAST,)
    assert seeds_from(np.uint8(255), 2, "films") == (255, 256)


@pytest.mark.parametrize(
    ("seed", "count", "error", "words"),
    [
        (-1, 1, ValueError, "seed is -1; it must be at least 0 and below 2147483648"),
        (LAST, 2, ValueError, "with one more for each of 2 films, below 2147483648"),
        (2**40, 1, ValueError, "seed is 1099511627776; it must"),
        (True, 1, TypeError, "seed is True; give a whole number"),
    ],
)
def test_another_seeds_noise_is_refused(seed, count, error, words) -> None:
    """A key keeps the last bits alone, so two seeds would make one film."""
    with pytest.raises(error, match=words):
        seeds_from(seed, count, "films")
