"""Transforms in a row, forwards and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.models.transforms import (
    CentreCrop,
    Chain,
    FromUint8,
    Normalise,
    On,
    ToRelative,
)


def test_a_chain_and_its_inverse_undo_each_other():
    """Pictures, states and relative actions come back as they went in, jitted or not.

    The order is turned around: an action is normalised after it was made relative.
    """
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
    given = {
        "picture": pictures,
        "state": np.float32([[0.5, -2.0], [1.0, 2.0]]),
        "action": rng.uniform(-1, 1, (2, 6, 2)).astype(np.float32),
        "prompt": np.int32(7),
    }
    marks = np.float32([-4, -5]), np.float32([4, 6])
    inner = Chain((ToRelative("action", "state"), On(("action",), Normalise(*marks))))
    chain = Chain((On(("picture",), FromUint8()), inner))
    there = jax.jit(chain)(given)
    assert there["picture"].dtype == jnp.float32
    assert np.abs(there["action"]).max() <= 1
    back = jax.jit(chain.inverse)(there)
    np.testing.assert_array_equal(back["picture"], pictures)
    np.testing.assert_allclose(back["action"], given["action"], atol=1e-6)
    assert int(back["prompt"]) == 7
    assert given["picture"] is pictures  # Nothing was changed in place.


def test_whole_numbers_come_back_exactly():
    """Divided by 255, times 255 and truncated, every level is what it was."""
    levels, function = np.arange(256, dtype=np.uint8), FromUint8()
    there = jax.jit(function)(levels)
    np.testing.assert_array_equal(there, levels / np.float32(255))
    np.testing.assert_array_equal(jax.jit(function.inverse)(there), levels)


def test_what_loses_something_has_no_inverse():
    """A crop cannot be undone, and the error says which part it was."""
    chain = Chain((On(("picture",), CentreCrop(0.5)),))
    with pytest.raises(TypeError, match=r"CentreCrop\(fraction=0.5\) has no inverse"):
        _ = chain.inverse


def test_a_missing_part_is_named():
    """The nearest of the parts that there are is told."""
    with pytest.raises(ValueError, match=r"lacks 'pictur'.*Did you mean 'picture'"):
        On(("pictur",), FromUint8())({"picture": np.zeros(1, np.uint8)})


def test_crops_keep_the_middle():
    """Half of what is cut off before it, rounded to even where that is odd."""
    picture = np.arange(45)[:, None, None] * np.ones((1, 76, 3), int)
    kept = CentreCrop(0.95)(picture)
    # 45 rows: 42 are kept, 1.5 is rounded to 2; 76 columns: 72 are kept.
    assert kept.shape == (42, 72, 3)
    assert kept[0, 0, 0] == 2
    with pytest.raises(ValueError, match=r"fraction is 1\.5"):
        CentreCrop(1.5)
