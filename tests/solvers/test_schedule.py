import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Schedule, explicit_schedule, flow_schedule
from jax_stepcache.solvers.schedule import (
    num_steps_of,
    per_output,
    sigma_at,
    timesteps_at,
)


def test_dreamzero_timesteps():
    """16 steps with shift 5 give the timesteps that DreamZero's network is told."""
    assert flow_schedule(16, 5.0).timesteps == (
        *(999, 986, 972, 955, 937, 916, 892, 865),
        *(833, 795, 749, 694, 624, 535, 416, 249),
    )


@given(
    num_steps=st.integers(1, 60),
    shift=st.floats(0.2, 12),
    final=st.none() | st.floats(0, 0.9),
)
def test_flow_schedule_falls_to_its_end(num_steps, shift, final):
    """Sigmas fall strictly from nearly 1 to the final noise, 0 if none is given."""
    schedule = flow_schedule(num_steps, shift, final)
    assert schedule.num_steps == num_steps == len(schedule.timesteps)
    assert len(schedule.sigmas) == num_steps + 1
    assert (np.diff(schedule.sigmas) < 0).all()
    assert 0.99 < schedule.sigmas[0] < 1
    assert math.isclose(schedule.sigmas[-1], final or 0.0, abs_tol=1e-12)


@given(num_steps=st.integers(1, 60), shift=st.floats(0.2, 12))
def test_timesteps_are_truncated(num_steps, shift):
    """The network is told ``trunc(1000 * sigma)``, taken in float32."""
    schedule = flow_schedule(num_steps, shift)
    in_float32 = np.asarray(schedule.sigmas[:-1], np.float32) * np.float32(1000)
    assert list(schedule.timesteps) == np.trunc(in_float32).tolist()


def test_shift_is_applied_once():
    """A shift moves sigma to ``s sigma / (1 + (s - 1) sigma)``; 1 changes nothing."""
    even = np.array(flow_schedule(8, 1.0).sigmas)
    np.testing.assert_allclose(even[:-1], np.linspace(0.999, 0, 9)[:-1], atol=1e-7)
    np.testing.assert_allclose(flow_schedule(8, 3.0).sigmas, 3 * even / (1 + 2 * even))


def test_final_noise_squeezes_the_whole_range():
    """A decoupled schedule keeps the first sigma and squeezes all others."""
    whole = np.array(flow_schedule(8, 5.0).sigmas)
    squeezed = np.array(flow_schedule(8, 5.0, 0.8).sigmas)
    assert squeezed[0] == whole[0]
    expected = whole * (whole[0] - 0.8) / whole[0] + 0.8
    np.testing.assert_allclose(squeezed, expected)


def test_schedule_is_static():
    """Two equal schedules are one key of the compile cache."""
    assert hash(flow_schedule(4)) == hash(flow_schedule(4))
    assert flow_schedule(4) == flow_schedule(4)
    assert flow_schedule(4) != flow_schedule(4, 3.0)


def test_explicit_timesteps_are_told_as_given():
    """Own timesteps are not truncated and need not follow the sigmas."""
    schedule = explicit_schedule([1.0, 0.5, 0.0], [0.25, 7.5])
    assert schedule == Schedule((1.0, 0.5, 0.0), (0.25, 7.5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: flow_schedule(0), "num_inference_steps is 0; .*at least 1"),
        (lambda: flow_schedule(-2), "num_inference_steps is -2"),
        (lambda: flow_schedule(4, 0.0), r"shift is 0\.0; .*positive"),
        (lambda: flow_schedule(4, math.nan), "shift is nan"),
        (lambda: flow_schedule(4, math.inf), "shift is inf"),
        (lambda: flow_schedule(4, 5.0, 1.0), r"final_noise is 1\.0; .*\[0, 1\)"),
        (lambda: flow_schedule(4, 5.0, -0.1), r"final_noise is -0\.1"),
        (lambda: explicit_schedule([0.5]), "two numbers or more"),
        (lambda: explicit_schedule([[1.0, 0.0]]), "two numbers or more"),
        (lambda: explicit_schedule([0.5, 0.5, 0.0]), "fall strictly"),
        (lambda: explicit_schedule([0.2, 0.5]), "fall strictly"),
        (lambda: explicit_schedule([1.5, 0.0]), r"within \[0, 1\]"),
        (lambda: explicit_schedule([1.0, -0.1]), r"within \[0, 1\]"),
        (lambda: explicit_schedule([1.0, math.nan]), "fall strictly"),
        (lambda: explicit_schedule([1.0, 0.0], [1, 2]), r"2 sigmas need \(1,\)"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    """What cannot be a schedule is an error that says what was given."""
    with pytest.raises(ValueError, match=message):
        make()


def test_outputs_step_together():
    """Schedules of several outputs must have one step count."""
    short, long = flow_schedule(4), flow_schedule(5)
    assert num_steps_of({"video": short, "action": short}) == 4
    with pytest.raises(ValueError, match=r"\[4, 5\] steps"):
        num_steps_of({"video": short, "action": long})


def test_schedule_spreads_over_nested_outputs():
    """A tree of schedules that is a prefix of the sample gives each leaf its own."""
    one, other = flow_schedule(4), flow_schedule(4, 1.0)
    sample = {"action": jnp.zeros(1), "video": [jnp.zeros(1), jnp.zeros(1)]}
    assert per_output(one, sample) == (one, one, one)
    assert per_output({"action": one, "video": other}, sample) == (one, other, other)
    with pytest.raises(ValueError, match="one per output"):
        per_output({"video": one}, sample)


def test_a_step_is_looked_up_by_a_traced_index():
    """Sigma and timesteps of a step come as float32, in the schedule's structure."""
    schedules = {"video": flow_schedule(3, 1.0), "action": flow_schedule(3, 5.0)}

    @jax.jit
    def look(step):
        return timesteps_at(schedules, step, 2), sigma_at(schedules["video"], step)

    times, sigma = look(jnp.int32(1))
    for name, schedule in schedules.items():
        assert times[name].dtype == jnp.float32
        assert times[name].tolist() == [schedule.timesteps[1]] * 2
    assert sigma == np.float32(schedules["video"].sigmas[1])
