"""Noise levels of a solver that are found by descent: the baseline of tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    IPNDM,
    RES,
    DPMSolver,
    Euler,
    UniPC,
    as_table,
    calibrate,
    explicit_schedule,
    flow_schedule,
    sample,
)
from jax_stepcache.calibration.levels import levels_around, schedule_of
from jax_stepcache.calibration.quality import decibels
from jax_stepcache.calibration.table_space import Moved, kept_falling, unmoved

SOLVERS = (Euler(), UniPC(), UniPC(3), DPMSolver(), DPMSolver(3), RES(), IPNDM())


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_moved_levels_are_a_schedule_of_the_solver(solver):
    """Wherever they are moved, its own algebra on that schedule is the table."""
    levels = levels_around(solver, flow_schedule(5, shift=3.0))
    still = levels.table(unmoved(levels))
    for one, other in zip(still, levels.start, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    away = jnp.array([-0.01, 0.02, -0.03, 0.04, -0.05])
    moved = Moved(away, jnp.zeros((5, 6)))
    table = jax.device_get(levels.around(moved).table(moved))
    wanted = as_table(solver, schedule_of(table))
    for one, other in zip(table, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS[1::2], ids=str)
def test_slopes_are_those_of_the_coefficients(solver):
    """A small move changes a table by as much as its derivative says."""
    schedule = explicit_schedule([0.95, 0.8, 0.55, 0.3, 0.0])
    levels = levels_around(solver, schedule)
    draw = np.random.default_rng(0)
    toward = jnp.asarray(draw.standard_normal(4), jnp.float32)

    def weights(sigmas):
        table = levels.table(Moved(sigmas, jnp.zeros((4, 5))))
        return table.noise, table.velocities

    _, slope = jax.jvp(weights, (jnp.zeros(4),), (toward,))
    step = 1e-3

    def at(share):
        sigmas = np.array(schedule.sigmas)
        sigmas[:-1] += share * np.asarray(toward)
        table = as_table(solver, explicit_schedule(sigmas, schedule.timesteps))
        return table.noise, table.velocities

    for one, above, below in zip(slope, at(step), at(-step), strict=True):
        np.testing.assert_allclose(one, (above - below) / (2 * step), atol=5e-3)


def test_pure_noise_has_no_slope():
    """The first level may be 1, beyond which there is none; all stays finite."""
    levels = levels_around(UniPC(), explicit_schedule([1.0, 0.5, 0.0]))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(levels))
    far = Moved(jnp.array([0.5, 0.9]), jnp.zeros((2, 3)))
    table = levels.around(kept_falling(levels, far)).table(kept_falling(levels, far))
    assert (np.diff(table.sigmas) < 0).all()
    assert table.sigmas[0] <= levels.start.sigmas[0]


def network(weights, x, t, condition):
    return jnp.tanh(3 * x @ weights + (t / 300)[:, None])


WEIGHTS = jax.random.normal(jax.random.key(1), (4, 4)) / 2
OPTIONS = {"num_inference_steps": 12}
FIT = {"steps": 80, "seconds": None, "batch": 8}


def drawn(number, seed):
    return {"noise": jax.random.normal(jax.random.key(seed), (number, 4))}


@pytest.fixture(scope="module")
def found():
    given = {"cache": "none", "target": {"model_calls": 3}, "fit": FIT, **OPTIONS}
    return calibrate(WEIGHTS, network, drawn(32, 2), **given)


@pytest.mark.slow
def test_levels_are_ahead_on_new_noise(found):
    """Plain steps of the solver by the levels that were found; nothing else changed."""
    assert (found.cache, found.cache_config) == ("none", {})
    options = {"model": network, **drawn(64, 9)}
    reference = sample(WEIGHTS, **options, **OPTIONS).sample
    result = sample(WEIGHTS, **options, **found.options)
    assert int(result.stats.model_calls) == 3
    plain = sample(WEIGHTS, **options, num_inference_steps=3).sample
    near, far = (decibels(reference, x)[""] for x in (result.sample, plain))
    assert near > far + 2
    assert found.lead > 0
