"""Robots that are alike are put together, in few sizes, and none is left out."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.models.encoders import alike


@given(st.integers(0, 40), st.integers(1, 9))
def test_pieces_are_powers_of_two_and_cover_all(count, most):
    """Without a gap, none twice, none above the most; so few sizes are compiled."""
    cut = list(alike.pieces(count, most))
    assert [i for some in cut for i in range(count)[some]] == list(range(count))
    sizes = [some.stop - some.start for some in cut]
    assert all(size & (size - 1) == 0 and size <= most for size in sizes)
    assert sorted(sizes, reverse=True) == sizes


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 5))
def test_a_call_has_one_kind(kinds, most):
    """And each robot is in one call."""
    calls = list(alike.calls(kinds, most))
    assert all(len({kinds[i] for i in indices}) == 1 for indices in calls)
    assert sorted(i for indices in calls for i in indices) == list(range(len(kinds)))


def test_rows_are_what_was_stacked():
    """Each robot gets its own row back."""
    each = [{"a": np.full((1, 2), i), "b": np.full(1, -i)} for i in range(3)]
    together = alike.stacked(each)
    assert together["a"].shape == (3, 2)
    for own, row in zip(each, alike.rows(jnp.asarray(together["a"]), 3), strict=True):
        np.testing.assert_array_equal(row, own["a"])
