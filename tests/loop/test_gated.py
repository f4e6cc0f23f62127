import jax
import jax.numpy as jnp
import numpy as np

from jax_stepcache import Uncached, View, static_schedule
from jax_stepcache.loop.gated import gated

from ..jaxprs import primitives


def walk(policy, velocities):
    """Goes through given velocities; returns what was used and which steps ran."""

    def step(state, i):
        view = View(i, jnp.float32(0), velocities[0])
        velocity, decision = gated(policy, state, view, run=lambda: velocities[i])
        return decision.state, (velocity, jnp.asarray(decision.run))

    start = View(jnp.int32(0), jnp.float32(0), velocities[0])
    state = policy.init(start, len(velocities))
    return jax.lax.scan(step, state, jnp.arange(len(velocities)))[1]


VELOCITIES = jnp.arange(5.0)[:, None, None] * jnp.ones((1, 1, 2))


def test_reuse_gives_the_last_computed_velocity():
    """On a skip the forecast stands in, and the memory stays as it was."""
    used, run = walk(static_schedule([1, 0, 1, 0, 0]), VELOCITIES)
    assert run.tolist() == [True, False, True, False, False]
    assert used[:, 0, 0].tolist() == [0, 0, 2, 2, 2]


def test_one_branch_and_one_call_site():
    """A cached step holds one `cond`, with the network in one of its branches."""
    counts = primitives(lambda v: walk(static_schedule([1, 0, 1, 0, 0]), v), VELOCITIES)
    assert counts["cond"] == 1
    calls = []

    def once():
        calls.append(1)
        return VELOCITIES[0]

    policy = static_schedule([1, 0])
    view = View(jnp.int32(0), jnp.float32(0), VELOCITIES[0])
    state = policy.init(view, 2)
    jax.make_jaxpr(lambda state: gated(policy, state, view, run=once)[0])(state)
    assert len(calls) == 1


def test_an_uncached_step_has_no_branch():
    """Where the network always runs there is no `cond` to pay for."""
    counts = primitives(lambda v: walk(Uncached(), v), VELOCITIES)
    assert counts["cond"] == 0
    used, run = walk(Uncached(), VELOCITIES)
    np.testing.assert_array_equal(used, VELOCITIES)
    assert run.all()
