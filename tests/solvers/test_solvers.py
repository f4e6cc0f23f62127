import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    IPNDM,
    RES,
    DPMSolver,
    Euler,
    Heun,
    UniPC,
    as_table,
    explicit_schedule,
    flow_schedule,
    get_solver,
    sample,
    sample_many,
    static_schedule,
)
from jax_stepcache.solvers.named import SOLVERS
from jax_stepcache.solvers.stochastic import draws_noise

from .integrate import integrate

schedules = st.builds(
    flow_schedule,
    st.integers(1, 24),
    st.floats(0.5, 8),
    st.none() | st.floats(0, 0.8),
)


# As objects: a failing case is named by what it is.
ALL = [
    solver
    for solver in (*(make() for make in SOLVERS.values()), DPMSolver(2, "heun"))
    if not draws_noise(solver)
]


@pytest.mark.parametrize("solver", ALL)
@given(schedule=schedules, start=st.floats(-3, 3), velocity=st.floats(-3, 3))
def test_constant_velocity_is_exact(solver, schedule, start, velocity):
    """A straight flow has no error, whatever the schedule."""
    end = integrate(solver, schedule, np.array([start]), lambda x, sigma: velocity)
    length = schedule.sigmas[-1] - schedule.sigmas[0]
    np.testing.assert_allclose(end, start + velocity * length, atol=1e-12)


@pytest.mark.parametrize("solver", ALL)
def test_schedule_may_begin_at_pure_noise(solver):
    """Sigma 1, where log-SNR is minus infinity, gives no infinities or warnings."""
    schedule = explicit_schedule(np.linspace(1, 0, 9))
    end = integrate(solver, schedule, np.array([0.3]), lambda x, sigma: 2.0)
    np.testing.assert_allclose(end, 0.3 - 2.0)


@pytest.mark.parametrize(
    ("solver", "least", "most"),
    [
        (Euler(), 0.8, 1.3),
        (UniPC(1), 1.4, 3.2),
        (UniPC(), 1.8, 3.2),
        (UniPC(3), 1.4, 4.2),
        (DPMSolver(1), 0.8, 1.3),
        (DPMSolver(2), 1.4, 2.3),
        (DPMSolver(2, "heun"), 1.4, 2.3),
        (DPMSolver(3), 1.8, 3.3),
        (IPNDM(2), 1.8, 2.3),
        (IPNDM(4), 1.4, 4.3),
        (Heun(), 1.8, 2.3),
        (RES(), 1.4, 2.3),
    ],
)
def test_order_on_a_gaussian_flow(solver, least, most):
    """Halving the steps divides the error by 2 to the order; starts are lower ones."""
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
    assert get_solver("dpm++_3m") == DPMSolver(3)
    for name, meant in {
        "eular": "'euler'",
        "dpm++_2": "'dpm++_2m'",
        "DPMSolverMultistep": "'dpm++_2m'",
        "res_multistep": "'res'",
        "iPNDM": "'ipndm'",
    }.items():
        with pytest.raises(ValueError, match=re.escape(f"Did you mean {meant}?")):
            get_solver(name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DPMSolver(4), "order is 4; DPMSolver has orders 1 to 3"),
        (lambda: UniPC(0), "order is 0; it must be a whole number of at least 1"),
        (lambda: IPNDM(5), "order is 5; IPNDM has orders 1 to 4"),
        (lambda: UniPC(2.0), "order is 2.0"),
        (lambda: DPMSolver(2, "huen"), "unknown solver_type 'huen'.*'heun'"),
    ],
)
def test_bad_options(make, message):
    """An option that there is not is told, with the nearest that there is."""
    with pytest.raises(ValueError, match=message):
        make()


def test_res_is_exact_for_a_line():
    """Where x0 is a line in log(sigma), a second-order step has no error."""
    schedule = explicit_schedule(np.geomspace(0.8, 0.2, 7))
    # x = a + b log(sigma) + b + c sigma has x0 = a + b log(sigma).
    a, b, c = 0.4, -0.7, 0.9

    def truth(sigma):
        return a + b * np.log(sigma) + b + c * sigma

    solver = RES()
    tables = solver.tables(schedule.sigmas)
    memory = (np.array(a + b * np.log(schedule.sigmas[0])),)
    for i, (now, then) in enumerate(itertools.pairwise(schedule.sigmas[1:])):
        row = jax.tree.map(lambda table, i=i: table[i + 1], tables)
        x, x0 = np.array(truth(now)), a + b * np.log(now)
        following, memory = solver.step(row, memory, x, (x - x0) / now)
        np.testing.assert_allclose(following, truth(then), rtol=1e-12)


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


def test_heun_calls_the_network_twice_a_step():
    """N steps are 2 N - 1 calls, for the sampler, for caches and for a table."""
    told = []

    def network(weights, x, t, condition):
        told.append(t)
        return jnp.sin(weights * x + t[:, None] / 300)

    options = {"model": network, "noise": jnp.linspace(-1, 1, 8).reshape(2, 4)}
    schedule = flow_schedule(4, 2.0)
    result = sample(1.0, solver="heun", schedule=schedule, **options)
    assert result.stats.model_calls == 7
    cache = static_schedule([True, True, False, True, False, True, True])
    few = sample(1.0, solver="heun", schedule=schedule, cache=cache, **options)
    assert few.stats.model_calls == 5
    for policy, wanted in ((None, result), (cache, few)):
        given = sample(1.0, schedule=as_table("heun", schedule, policy), **options)
        np.testing.assert_allclose(given.sample, wanted.sample, atol=1e-5)
    each = sample(1.0, solver="heun", schedule=schedule, decide="sample", **options)
    np.testing.assert_allclose(each.sample, result.sample, atol=1e-6)


def test_slots_count_heuns_steps():
    """`max_inference_steps` are solver steps, whatever calls these are."""
    noise = jnp.linspace(-1, 1, 4)[None]

    def network(weights, x, t, condition):
        return jnp.sin(weights * x + t[:, None] / 300)

    options = {"model": network, "solver": "heun", "slots": 1}
    requests = [{"noise": noise, "num_inference_steps": 3}]
    one = sample_many(1.0, requests, max_inference_steps=3, **options)[0]
    alone = sample(
        1.0, model=network, solver="heun", num_inference_steps=3, noise=noise
    )
    np.testing.assert_allclose(one.sample, alone.sample, atol=1e-6)
    assert int(one.stats.model_calls) == 5
    with pytest.raises(ValueError, match="5 calls; max_inference_steps is 3 of these"):
        sample_many(1.0, requests, max_inference_steps=2, **options)


def test_heun_by_hand_needs_the_schedule_of_calls():
    """Levels that do not come twice are told, with what makes such."""
    with pytest.raises(ValueError, match=r"Heun\(\)\.expanded\(schedule\)"):
        Heun().tables(flow_schedule(4).sigmas)
    assert Heun().expanded(flow_schedule(1)) == flow_schedule(1)
