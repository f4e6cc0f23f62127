import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.check import batch_size, check_arrays, check_floating
from jax_stepcache.errors import unknown_name

WANTED = {
    "image": jax.ShapeDtypeStruct((2, 3), jnp.float32),
    "token": jax.ShapeDtypeStruct((2,), jnp.int32),
}


def given(**changes):
    return {"image": np.ones((2, 3)), "token": np.ones(2, np.int64)} | changes


def test_any_width_of_the_right_kind_will_do():
    """Floats of any width do for floats, and integers for integers."""
    check_arrays(given(), WANTED, "observation")
    check_arrays(given(image=jnp.ones((2, 3), jnp.bfloat16)), WANTED, "observation")
    check_arrays(given(token=np.ones(2, np.uint8)), WANTED, "observation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.ones((2, 4))}, r"x\['image'\] has shape \(2, 4\); .* \(2, 3\)"),
        ({"image": np.ones((2, 3), int)}, r"x\['image'\] has dtype int32"),
        ({"token": np.ones(2)}, r"x\['token'\] has dtype float32; .* int32"),
        ({"image": np.ones((2, 3), bool)}, r"x\['image'\] has dtype bool"),
        ({"more": np.ones(1)}, "x has structure"),
    ],
)
def test_the_first_difference_is_named(changes, message):
    """Structure, shape and dtype: what was given, and what the model takes."""
    with pytest.raises(ValueError, match=message):
        check_arrays(given(**changes), WANTED, "x")


def test_batch_size():
    """All arrays share their first dimension, or there is no batch."""
    assert batch_size({"a": np.ones((3, 1)), "b": np.ones(3)}, "noise") == 3
    for tree in ({"a": np.ones((3, 1)), "b": np.ones(2)}, np.float32(1), {}):
        with pytest.raises(ValueError, match="noise has arrays of shapes"):
            batch_size(tree, "noise")


def test_noise_is_floating():
    """Integers cannot be denoised."""
    check_floating({"a": jnp.ones(1, jnp.bfloat16)}, "noise")
    with pytest.raises(ValueError, match=r"noise\['a'\] has dtype int32"):
        check_floating({"a": jnp.ones(1, jnp.int32)}, "noise")


def test_the_nearest_name_is_suggested():
    """A typo gets the name that was meant; nonsense gets the list alone."""
    near = unknown_name("solver", "eular", ["unipc", "euler"])
    assert near == (
        "unknown solver 'eular'. Did you mean 'euler'? Supported: ['euler', 'unipc']"
    )
    assert "Did you mean" not in unknown_name("solver", "xyz", ["unipc", "euler"])


def test_of_many_names_the_nearest_are_listed():
    """A page of names helps nobody who has misspelt one; nonsense still gets it."""
    names = [f"setting_{i}" for i in range(80)]
    near = unknown_name("key", "hi", ["high", *names])
    assert "Did you mean 'high'? Of 81 these are nearest: ['high', " in near
    assert len(near) < 200
    assert all(name in unknown_name("key", "xyz", names) for name in names)
