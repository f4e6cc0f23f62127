"""What each output weighs in the loss of a table."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import TableFit
from jax_stepcache.calibration.table_shares import shares_of

PICTURE = SimpleNamespace(decode=lambda sample: {"image": sample / 2})


def test_outputs_share_one():
    """Their weights, of logarithms of each and of all, add up to 1."""
    fit = TableFit(outputs={"a": 3.0}, pooled={"b": 0.5})
    shares = shares_of(fit, {"a": jnp.zeros(2), "b": jnp.zeros(2)}, None)
    np.testing.assert_allclose(shares, [[0.5625, 0.1875], [0.125, 0.125]])


def test_one_array_is_named_as_it_is_shown():
    """`image` is what a result prints; the array itself has no name."""
    for name in ("image", ""):
        fit = TableFit(outputs={name: 3.0}, pooled={name: 1.0})
        np.testing.assert_allclose(shares_of(fit, jnp.zeros(2), PICTURE), [[0, 1]])
    with pytest.raises(ValueError, match=r"output 'imge'. Did you mean 'image'"):
        shares_of(TableFit(outputs={"imge": 1.0}), jnp.zeros(2), PICTURE)
