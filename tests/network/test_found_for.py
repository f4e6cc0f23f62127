"""Marks that tell weights apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import load_params, load_settings
from jax_stepcache.network.found_for import is_marked, weights_mark

WIDE = (2100, 2000)  # more numbers than are all looked at


@pytest.mark.parametrize("shape", [(), (7,), (40, 30), WIDE])
def test_a_change_anywhere_gives_another_mark(shape):
    """Of a small array any one number; of a large one its rows but for the first."""
    one = np.ones(shape, np.float32)
    mark = weights_mark({"w": one})
    assert weights_mark({"w": jnp.asarray(one)}) == mark
    assert is_marked({"w": one}, mark)
    other = one.copy()
    if one.shape == WIDE:
        other[1:] = 3
    else:
        other.reshape(-1)[-1] = 3
    assert weights_mark({"w": other}) != mark
    assert not is_marked({"w": other}, mark)
    assert weights_mark({"v": one}) != mark


def test_a_few_rows_of_a_large_array_are_seen():
    """One in a hundred is enough, wherever they lie."""
    one = np.zeros(WIDE, np.float32)
    for row in range(0, 2100, 500):
        other = one.copy()
        other[row : row + 21] = 1
        assert weights_mark([other]) != weights_mark([one]), row


@pytest.mark.parametrize("name", ["dit", "tabletop", "film"])
def test_bundled_settings_are_of_the_bundled_weights(name):
    """They are told from others that begin alike, which marks of before took."""
    params = load_params(name)
    file = params.model.tuned_file.path
    load_settings(file, params)
    weights = _with_last_changed(params.weights)
    with pytest.raises(ValueError, match="found for other weights"):
        load_settings(file, type(params)(weights, params.model))


def test_marks_of_before_are_known():
    """Files that were written then have those of the beginning of each array."""
    weights = {"w": jnp.arange(12.0).reshape(3, 4), "b": jnp.float32(2)}
    assert is_marked(weights, "c06a43829201a0a5")
    assert not is_marked({**weights, "b": jnp.float32(3)}, "c06a43829201a0a5")


def _with_last_changed(weights):
    leaves, structure = jax.tree.flatten(weights)
    place = max(range(len(leaves)), key=lambda i: np.ndim(leaves[i]))
    index = (-1,) * np.ndim(leaves[place])
    leaves[place] = jnp.asarray(leaves[place]).at[index].add(1.0)
    return jax.tree.unflatten(structure, leaves)
