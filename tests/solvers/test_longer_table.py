"""A table of one call more: the same sample, whatever the network says there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import as_table, flow_schedule, sample
from jax_stepcache.solvers.longer_table import one_call_more

NOISE = jax.random.normal(jax.random.key(0), (2, 3))


def velocity(weights, x, t, condition):
    return jnp.sin(3 * x) + t[:, None] / 500


def test_the_sample_is_the_same():
    """One network call is made more, and nothing made of it."""
    table = as_table("unipc", flow_schedule(4, 5.0))
    (longer,) = one_call_more([table])
    run = {"model": velocity, "noise": NOISE}
    one, other = (sample({}, schedule=each, **run) for each in (table, longer))
    assert int(other.stats.model_calls) == 5
    np.testing.assert_allclose(other.sample, one.sample, atol=1e-5)


@given(st.integers(1, 8), st.floats(1.0, 8.0))
def test_it_stands_in_the_widest_gap(calls, shift):
    """Levels fall, and outputs have their new call at the same place."""
    tables = [as_table("euler", flow_schedule(calls, one)) for one in (shift, 1.0)]
    for table, longer in zip(tables, one_call_more(tables), strict=True):
        assert longer.num_steps == calls + 1
        assert np.all(np.diff(longer.sigmas) < 0)
        assert np.all(np.diff(longer.timesteps) < 0)
        assert set(np.asarray(table.sigmas)) < set(np.asarray(longer.sigmas))
    assert np.triu(longer.velocities, 1) == pytest.approx(0)
