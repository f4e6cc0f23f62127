import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Euler, UniPC, explicit_schedule, flow_schedule, get_solver

from .integrate import integrate

schedules = st.builds(
    flow_schedule,
    st.integers(1, 24),
    st.floats(0.5, 8),
    st.none() | st.floats(0, 0.8),
)


@pytest.mark.parametrize("solver", [Euler(), UniPC()])
@given(schedule=schedules, start=st.floats(-3, 3), velocity=st.floats(-3, 3))
def test_constant_velocity_is_exact(solver, schedule, start, velocity):
    """A straight flow has no error, whatever the schedule."""
    end = integrate(solver, schedule, np.array([start]), lambda x, sigma: velocity)
    length = schedule.sigmas[-1] - schedule.sigmas[0]
    np.testing.assert_allclose(end, start + velocity * length, atol=1e-12)


@pytest.mark.parametrize("solver", [Euler(), UniPC()])
def test_schedule_may_begin_at_pure_noise(solver):
    """Sigma 1, where log-SNR is minus infinity, gives no infinities or warnings."""
    schedule = explicit_schedule(np.linspace(1, 0, 9))
    end = integrate(solver, schedule, np.array([0.3]), lambda x, sigma: 2.0)
    np.testing.assert_allclose(end, 0.3 - 2.0)


@pytest.mark.parametrize(
    ("solver", "least", "most"), [(Euler(), 0.8, 1.3), (UniPC(), 1.8, 3.2)]
)
def test_order_on_a_gaussian_flow(solver, least, most):
    """Halving the steps divides the error by about 2 (Euler) and 4 or more (UniPC)."""
    errors = [abs(_gaussian_error(solver, n)) for n in (40, 80, 160, 320)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert (orders > least).all(), orders
    assert (orders < most).all(), orders


def test_unipc_is_ahead_of_euler():
    """At DreamZero's 16 steps the second order pays, many times over."""
    assert abs(_gaussian_error(UniPC(), 16)) < 0.1 * abs(_gaussian_error(Euler(), 16))


def test_names():
    """Solvers go by name; a solver passes through; a typo gets the nearest name."""
    assert get_solver("unipc") == UniPC()
    assert get_solver("euler") == Euler()
    assert get_solver(own := Euler()) is own
    with pytest.raises(ValueError, match=r"unknown solver 'eular'.*'euler'"):
        get_solver("eular")


def _gaussian_error(solver, num_steps, mean=0.7, spread=0.4):
    """The error of sampling normal data, whose flow is known in closed form."""

    def deviation(sigma):
        return np.sqrt(((1 - sigma) * spread) ** 2 + sigma**2)

    def velocity(x, sigma):
        centred = (x - (1 - sigma) * mean) / deviation(sigma) ** 2
        x0 = mean + (1 - sigma) * spread**2 * centred
        return sigma * centred - x0

    schedule = flow_schedule(num_steps, shift=1.0)
    first, last = schedule.sigmas[0], schedule.sigmas[-1]
    start = np.array([1.3])
    standard = (start - (1 - first) * mean) / deviation(first)
    exact = (1 - last) * mean + deviation(last) * standard
    return (integrate(solver, schedule, start, velocity) - exact).item()
