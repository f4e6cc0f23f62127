"""Directions in which the loss of a table is curved alike."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import UniPC, as_table, calibrate, flow_schedule
from jax_stepcache.calibration.levels import levels_around
from jax_stepcache.calibration.table_curvature import (
    curvature_drawn,
    curvature_of,
    free_of,
    has_forward_mode,
    scale_of,
)
from jax_stepcache.calibration.table_loss import mean_squares, table_loss
from jax_stepcache.calibration.table_space import space_of, unmoved

DRAW = np.random.default_rng(0)
MIXED = jnp.asarray(DRAW.standard_normal((12, 5)), jnp.float32)


def linear(numbers, wanted):
    """Errors of two outputs that are linear in the numbers."""
    end = (MIXED @ numbers).reshape(3, 4)
    return [end - wanted, 2 * end[:, :2] - wanted[:, :2]]


def test_it_is_the_curvature_of_a_loss_near_its_end():
    """Of residuals that are linear, and that no move can shrink: the Hessian's part.

    The logarithm's own curvature, which is negative, is what Gauss and Newton leave
    out; where residuals are orthogonal to all moves there is none of it.
    """
    wanted = jnp.asarray(DRAW.standard_normal((3, 4)), jnp.float32)
    # What is left is orthogonal to what can be moved.
    both = np.concatenate([MIXED, 2 * MIXED.reshape(3, 4, 5)[:, :2].reshape(6, 5)])
    target = np.concatenate([wanted.reshape(-1), wanted[:, :2].reshape(-1)])
    best = jnp.asarray(np.linalg.lstsq(both, target, rcond=None)[0], jnp.float32)
    for weights in ([[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]):
        shares = jnp.asarray(weights)

        def loss(numbers, shares=shares):
            errors = mean_squares(linear(numbers, wanted))
            return table_loss(errors, shares)

        single = np.linalg.lstsq(*_one(both, target, weights), rcond=None)[0]
        at = jnp.asarray(single, jnp.float32)
        found = curvature_of(linear, at, shares, wanted)
        np.testing.assert_allclose(found, jax.hessian(loss)(at), rtol=1e-3, atol=1e-3)
    whole = curvature_of(linear, best, jnp.array([[0.5, 0.5], [0.5, 0.5]]), wanted)
    assert np.linalg.eigvalsh(whole).min() > 0


def _one(both, target, weights):
    rows = slice(0, 12) if weights[0][1] else slice(12, 18)
    return both[rows], target[rows]


def test_a_step_along_any_direction_is_curved_alike():
    """Scaled, the matrix is 1 everywhere; and no direction is infinitely long."""
    wide = DRAW.standard_normal((6, 6)) * np.logspace(0, -1, 6)
    curvature = wide.T @ wide
    scale = scale_of(curvature)
    seen = np.diag(scale.T @ curvature @ scale)
    assert (seen < 1.001).all()
    assert (seen > 0.9).sum() >= 4
    assert np.isfinite(scale_of(np.diag([1.0, 0.0]))).all()
    assert np.isfinite(scale_of(np.zeros((2, 2)))).all()


def test_drawn_it_is_near_enough_to_scale_by():
    """By reverse mode: no direction is taken for one that is ten times as curved."""
    both = jnp.array([[0.3, 0.2], [0.1, 0.4]])
    for seed in range(4):
        wanted = jax.random.normal(jax.random.key(seed), (3, 4))
        given = (linear, jnp.ones(5), both, wanted)
        scale = scale_of(np.asarray(curvature_of(*given), np.float64))
        seen = np.linalg.eigvalsh(scale.T @ np.asarray(curvature_drawn(*given)) @ scale)
        assert seen.min() > 0.1
        assert seen.max() < 4
        assert 0.6 < seen.mean() < 1.6


@jax.custom_vjp
def fused(x):
    """A kernel that can be derived backwards only."""
    return jnp.tanh(x)


fused.defvjp(lambda x: (fused(x), x), lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))


def test_networks_without_forward_mode_are_told_apart():
    """Also where the kernel stands in a loop, as in a sampler."""

    def ends(numbers, wanted, step):
        taken = jax.lax.scan(lambda x, _: (step(x), None), numbers, None, length=2)[0]
        return linear(taken, wanted)

    wanted = jnp.ones((3, 4))
    for step, there in ((jnp.tanh, True), (fused, False)):
        of = functools.partial(ends, step=step)
        assert has_forward_mode(of, jnp.ones(5), wanted) == there
    exact = curvature_drawn(functools.partial(ends, step=jnp.tanh), *_at(wanted))
    found = curvature_drawn(functools.partial(ends, step=fused), *_at(wanted))
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-6)


def _at(wanted):
    return jnp.ones(5), jnp.array([[0.5, 0.0], [0.0, 0.5]]), wanted


@pytest.mark.slow
def test_a_network_without_forward_mode_is_fitted():
    """It comes nearer than plain steps; forward slopes are refused."""
    drawn = {"noise": jax.random.normal(jax.random.key(1), (32, 6))}
    weights = jax.random.normal(jax.random.key(0), (6, 6)) / 3

    def network(w, x, t, condition):
        return fused(2 * x @ w) + t[:, None] / 1000

    def run(**fit):
        fit = {"steps": 60, "seconds": None, "batch": 8, **fit}
        given = {"cache": "bespoke", "target": {"model_calls": 3}, "fit": fit}
        return calibrate(weights, network, drawn, num_inference_steps=8, **given)

    assert run().lead > 3
    with pytest.raises(ValueError, match="cannot be derived forwards"):
        run(slopes="forward")


def test_only_what_is_there_is_free():
    """Weights of velocities to come are not; shared levels are one number, not two."""
    table = as_table("unipc", flow_schedule(3))
    spaces = (space_of(table), space_of(table))
    moved = tuple(map(unmoved, spaces))
    # Three levels each, and 2 + 3 + 4 weights.
    apart, shared = (free_of(spaces, moved, one) for one in (False, True))
    assert (len(apart.places), len(shared.places)) == (24, 21)
    numbers = jnp.arange(1.0, 22.0)
    one, other = shared.unpacked(numbers, moved)
    np.testing.assert_array_equal(one.sigmas, other.sigmas)
    assert not np.triu(one.weights, 2).any()
    np.testing.assert_array_equal(shared.packed((one, other)), numbers)
    levels = (levels_around(UniPC(), flow_schedule(3)),)
    assert len(free_of(levels, tuple(map(unmoved, levels)), True).places) == 3
