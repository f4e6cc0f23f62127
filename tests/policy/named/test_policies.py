import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    DREAMZERO_SCHEDULES,
    Linear,
    Uncached,
    mask_of_steps,
    static_schedule,
    step_cache,
)


def test_dreamzero_schedules():
    """The original's static schedules, of 16 steps: 5, 6, 7 and 8 of them run."""
    assert dict(DREAMZERO_SCHEDULES) == {
        5: (0, 1, 2, 7, 12),
        6: (0, 1, 5, 10, 14, 15),
        7: (0, 1, 2, 6, 10, 14, 15),
        8: (0, 1, 2, 6, 10, 13, 14, 15),
    }


def test_mask_of_steps():
    """Indices of the steps that run become a mask; one outside is refused."""
    assert mask_of_steps((0, 2), 4).tolist() == [True, False, True, False]
    with pytest.raises(ValueError, match=r"steps \[4, -1\] are outside 0\.\.3"):
        mask_of_steps((0, 4, -1), 4)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([False, True], "skips step 0"),
        ([], "skips step 0"),
        ([[True, False]], "one row of booleans"),
        ([1, 2], "one row of booleans"),
        (np.array([1.0, 0.5]), "one row of booleans"),
    ],
)
def test_masks_that_cannot_be_run(mask, message):
    """A mask is one row of booleans, and its first step runs."""
    with pytest.raises(ValueError, match=message):
        static_schedule(mask)


def test_masks_of_zeros_and_ones_do():
    """Integers 0 and 1 are as good as booleans."""
    mask = static_schedule([1, 0, 1]).gate.mask
    assert mask.dtype == bool
    assert mask.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (((0.95, 0.93), (4,)), "2 tiers and velocity_skip_countdowns 1"),
        (((0.93, 0.95), (4, 2)), "tiers must fall"),
        (((0.95, 0.95), (4, 2)), "tiers must fall"),
        (((1.5, 0.9), (4, 2)), r"cosines lie in \[-1, 1\]"),
        (((0.9, -1.5), (4, 2)), r"cosines lie in \[-1, 1\]"),
        (((0.9, np.nan), (4, 2)), r"cosines lie in \[-1, 1\]"),
        (((), ()), "one cosine for each tier"),
        ((0.95, 4), "one cosine for each tier"),
        (((0.95, 0.93), (4, 0)), "at least 1 .*reuse one velocity forever"),
        (((0.95, 0.93), (-1, 2)), "at least 1"),
        (((0.95, 0.93), (4.5, 2.0)), "whole number"),
        (((0.95, 0.93), (2**40, 2)), r"must be below 2\*\*31"),
        (((0.95, 0.93), (4, 2), 1, 2), "min_history is 1; .*at least 2"),
        (((0.95, 0.93), (4, 2), 3, 2), "min_history is 3 and .*max_history 2"),
    ],
)
def test_tiers_that_cannot_work(settings, message):
    """Settings with which nothing, or everything, would be reused are refused."""
    with pytest.raises(ValueError, match=message):
        step_cache(*settings)


def test_thresholds_may_be_at_the_ends():
    """-1 and 1 are cosines."""
    step_cache((1.0, -1.0), (4, 2))


def test_traced_numbers_are_taken_as_they_are():
    """Inside `jit`, thresholds, countdowns and masks may be arrays being traced."""

    @jax.jit
    def build(thresholds, countdowns, mask):
        return step_cache(thresholds, countdowns), static_schedule(mask)

    dynamic, static = build(jnp.array([0.9]), jnp.array([3]), jnp.array([True]))
    assert dynamic.gate.countdowns.tolist() == [3]
    assert static.gate.mask.tolist() == [True]


def test_policies_are_pytrees_of_their_numbers():
    """Numbers are leaves and structure is static."""
    assert len(jax.tree.leaves(step_cache())) == 2
    assert len(jax.tree.leaves(step_cache(forecast=Linear(0.5)))) == 4
    assert jax.tree.leaves(Uncached()) == []
    same = jax.tree.structure(step_cache((0.5, 0.4), (1, 1)))
    assert jax.tree.structure(step_cache()) == same
    assert jax.tree.structure(step_cache(output="video")) != same
