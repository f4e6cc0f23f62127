"""Rows along any axis: found by shapes, taken and put back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.batching.buckets import bucket_sizes, run_wanted
from jax_stepcache.network.rows import put_rows, row_axes, take_rows, with_rows


def tree(rows: int) -> dict[str, Any]:
    """Rows first, rows second, no rows, and no array at all."""
    draw = np.random.default_rng(0).normal
    return {
        "first": jnp.asarray(draw(size=(rows, 3))),
        "layers": jnp.asarray(draw(size=(3, rows, 2))),
        "shared": jnp.asarray(draw(size=(4,))),
        "static": 7,
    }


AXES = row_axes(tree(5), tree(6), (5, 6))


def test_the_axis_of_rows_is_that_which_differs() -> None:
    """An axis of as many layers as there are rows is not mistaken for them."""
    assert row_axes(tree(3), tree(4), (3, 4)) == (0, 1, None, None)
    for two, three in (((2, 2), (3, 3)), ((4, 1), (6, 1))):
        with pytest.raises(ValueError, match="cannot be told"):
            row_axes(jnp.zeros(two), jnp.zeros(three), (2, 3))
    with pytest.raises(ValueError, match="structure"):
        row_axes({"a": jnp.zeros(2)}, {"b": jnp.zeros(3)}, (2, 3))
    arrays = {name: x for name, x in tree(5).items() if name != "static"}
    assert with_rows(arrays, AXES[:3], 9)["layers"].shape == (3, 9, 2)


@given(index=st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True))
def test_what_is_put_back_is_what_was_taken(index: list[int]) -> None:
    """Rows come out as they are, and go where they came from, others untouched."""
    full, at = tree(5), jnp.asarray(index)
    taken = take_rows(full, AXES, at)
    np.testing.assert_array_equal(taken["layers"], full["layers"][:, at])
    assert taken["static"] == 7
    changed = jax.tree.map(lambda x: x + 1, taken)
    back = put_rows(full, AXES, at, changed)
    np.testing.assert_array_equal(back["first"], full["first"].at[at].add(1))
    np.testing.assert_array_equal(back["layers"], full["layers"].at[:, at].add(1))


def test_a_row_past_the_end_is_left_out() -> None:
    """What fills up a bucket is not written anywhere."""
    full = tree(5)
    back = put_rows(
        full, AXES, jnp.asarray([5, 6]), take_rows(full, AXES, jnp.zeros(2, int))
    )
    np.testing.assert_array_equal(back["first"], full["first"])


@given(wanted=st.lists(st.booleans(), min_size=1, max_size=9))
def test_a_bucket_runs_who_wants_it_and_no_more_than_it_must(
    wanted: list[bool],
) -> None:
    """The smallest bucket that holds them; others keep what they had."""
    rows, ran = len(wanted), []
    x = jnp.arange(rows, dtype=jnp.float32)

    def run(index: jax.Array | None) -> jax.Array:
        some = x if index is None else x[index]
        jax.debug.callback(lambda n: ran.append(int(n)), some.shape[0])
        return some * 10

    given = jax.jit(lambda mask: run_wanted(run, mask, -x, bucket_sizes(rows)))(
        jnp.asarray(wanted)
    )
    np.testing.assert_array_equal(given, np.where(wanted, x * 10, -x))
    jax.effects_barrier()
    count = sum(wanted)
    smallest = [size for size in bucket_sizes(rows) if size >= count][:1]
    assert ran == (smallest if count else [])


def test_buckets_are_few() -> None:
    """A quarter, a half and all; fewer where these coincide."""
    assert bucket_sizes(16) == (4, 8, 16)
    assert bucket_sizes(6) == (2, 3, 6)
    assert bucket_sizes(1) == (1,)
