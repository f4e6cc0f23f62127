"""`walk` is `denoise` that remembers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Uncached, UniPC, denoise, flow_schedule, step_cache
from jax_stepcache.loop.denoise import walk

SCHEDULE = flow_schedule(8, 3.0)
NOISE = {
    "action": jnp.linspace(-1, 1, 6).reshape(2, 3),
    "video": jnp.linspace(1, -2, 8).reshape(2, 4),
}
RUN = {"schedule": SCHEDULE, "solver": UniPC()}
CACHED = step_cache((0.9,), (2,))


def network(x, step):
    """Bends with the sample and turns with the step."""
    time = jnp.asarray(SCHEDULE.timesteps, jnp.float32)[step] / 1000
    video = jnp.tanh(x["video"] + time)
    return {"action": jnp.sin(x["action"] + 5 * time) + video[:, :3], "video": video}


@functools.partial(jax.jit, static_argnames="loop")
def _run(loop, policy, noise):
    if loop is denoise:
        return denoise(network, noise, policy=policy, **RUN)
    return walk(network, noise, policy=policy, keep=jax.tree.leaves, **RUN)


@pytest.fixture(scope="module", params=[CACHED, Uncached()], ids=["cached", "uncached"])
def walked(request):
    return request.param, *_run(walk, request.param, NOISE)


def test_walking_changes_no_bit(walked):
    """The sample and all statistics are those of `denoise`."""
    policy, result, _ = walked
    wanted = _run(denoise, policy, NOISE)
    assert jax.tree.structure(result) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(wanted), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    calls = 8 if policy is not CACHED else int(wanted.stats.model_calls)
    assert wanted.stats.model_calls == calls
    assert (0 < calls < 8) == (policy is CACHED)


def test_steps_begin_with_the_noise(walked):
    """Every step has the sample before it, and what was kept of the policy's state."""
    policy, result, steps = walked
    for name, noise in NOISE.items():
        np.testing.assert_array_equal(steps.sample[name][0], noise)
        assert steps.sample[name].shape == (8, *noise.shape)
        assert np.abs(steps.sample[name][-1] - result.sample[name]).max() > 1e-3
    assert all(len(x) == 8 for x in steps.seen)
    assert bool(steps.seen) == (policy is CACHED)


def test_computed_velocities_are_the_networks(walked):
    """At computed steps the network's of the sample there, at the others reused."""
    _, result, steps = walked
    asked = jax.vmap(network)(steps.sample, jnp.arange(8))
    computed = np.asarray(result.stats.computed)
    for name in NOISE:
        off = np.abs(steps.velocity[name] - asked[name]).max(axis=(1, 2))
        assert (off[computed] < 1e-6).all()
        assert (off[~computed] > 1e-4).all()
