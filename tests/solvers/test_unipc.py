import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import UniPC, flow_schedule
from jax_stepcache.solvers.base import row_of
from jax_stepcache.solvers.unipc import UniPCState


@given(num_steps=st.integers(1, 30), shift=st.floats(0.5, 8))
def test_last_step_is_the_x0_prediction(num_steps, shift):
    """Where sigma ends at 0 the last step returns the network's idea of x0, exactly."""
    tables = UniPC().tables(flow_schedule(num_steps, shift).sigmas)
    assert tables.predict[-1].tolist() == [0, 1, 0]


@given(
    num_steps=st.integers(1, 30),
    shift=st.floats(0.5, 8),
    final=st.none() | st.floats(0, 0.8),
)
def test_tables_are_finite_and_keep_constants(num_steps, shift, final):
    """No infinity of log-SNR reaches them; x0 gets what the sample leaves of 1."""
    sigmas = np.array(flow_schedule(num_steps, shift, final).sigmas)
    tables = UniPC().tables(tuple(sigmas))
    assert all(np.isfinite(table).all() for table in tables)
    ratio = sigmas[1:] / sigmas[:-1]
    np.testing.assert_allclose(tables.predict[:, 0], ratio)
    np.testing.assert_allclose(tables.predict.sum(1), 1)
    np.testing.assert_allclose(tables.correct.sum(1), 1)
    np.testing.assert_allclose(tables.correct[1:, 0], ratio[:-1])
    assert tables.correct[0].tolist() == [1, 0, 0, 0]


def test_first_and_last_steps_are_first_order():
    """There is no step before the first, and the last drops to order 1."""
    tables = UniPC().tables(flow_schedule(6, 3.0).sigmas)
    assert (tables.predict[[0, -1], 2] == 0).all()
    assert (tables.predict[1:-1, 2] != 0).all()
    assert tables.correct[1, 3] == 0


def test_state_carries_the_corrected_sample():
    """After a step the state holds the sample it has corrected, not the one given."""
    schedule = flow_schedule(4, 1.0)
    solver = UniPC()
    tables = solver.tables(schedule.sigmas)
    sample = jnp.array([[0.5, -1.0]])
    state = solver.init(sample)
    for step in range(2):
        row = row_of(tables, jnp.int32(step))
        given_sample = sample
        sample, state = solver.step(row, state, sample, jnp.sin(3 * sample))
    assert not np.allclose(state.corrected, given_sample)
    x0 = given_sample - schedule.sigmas[1] * jnp.sin(3 * given_sample)
    np.testing.assert_allclose(state.x0s[0], x0, rtol=1e-6)


def test_half_precision_is_summed_in_float32():
    """On a bfloat16 sample only the results are rounded, not the coefficients."""
    rng = np.random.default_rng(0)
    arrays = [jnp.asarray(rng.normal(size=256), jnp.bfloat16) for _ in range(5)]
    sample, velocity, *state = arrays
    row = row_of(UniPC().tables(flow_schedule(6, 3.0).sigmas), jnp.int32(3))
    low, _ = UniPC().step(row, UniPCState(state[0], tuple(state[1:])), sample, velocity)
    exact = [x.astype(jnp.float32) for x in arrays]
    high, _ = UniPC().step(
        row, UniPCState(exact[2], tuple(exact[3:])), exact[0], exact[1]
    )
    assert low.dtype == jnp.bfloat16
    np.testing.assert_array_equal(low, high.astype(jnp.bfloat16))


def test_tables_become_constants_of_the_program():
    """Tables are made in float64 at trace time and enter the loop as float32."""
    tables = UniPC().tables(flow_schedule(5).sigmas)
    assert tables.correct.dtype == np.float64
    row = jax.jit(lambda step: row_of(tables, step))(jnp.int32(2))
    assert row.correct.dtype == jnp.float32
    np.testing.assert_allclose(row.correct, tables.correct[2], rtol=1e-6)
