"""Guidance branches decide apart, and none sees what the other did."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Hold, Span, View, compose, sample
from jax_stepcache.loop.branches import Branches
from jax_stepcache.loop.gated import gated
from jax_stepcache.policy.gates import Below
from jax_stepcache.policy.signals import FirstBlocks
from jax_stepcache.policy.view import Inside
from jax_stepcache.solvers.schedule import flow_schedule

from ..staged import NUM_BLOCKS, NUM_STEPS, UNROLLED, WEIGHTS, conditions, noise, run

SCALE = 2.0
# Thresholds at which the two branches decide differently.
TEA, DB = 0.4, 0.2


def plain_branches(decides, first=0, shared=False):
    """Guided Euler in a plain loop, one forward for each branch with its own cache.

    ``decides(branch, u, f)`` is given the modulated input and what the first blocks
    add, and returns whether to run, given all that this branch has seen before.
    """
    schedule = flow_schedule(NUM_STEPS, 1.0)
    x, kept, ran = noise(), [None, None], []
    f_shown = None
    for step in range(NUM_STEPS):
        said, row = [], []
        for branch, condition in enumerate(conditions()):
            t = jnp.full(len(x), schedule.timesteps[step])
            start, context = UNROLLED.embed(WEIGHTS, x, t, condition)
            hidden = UNROLLED.blocks(WEIGHTS, start, context, 0, first)
            f = np.asarray(hidden - start)
            f_shown = f if branch == 0 else f_shown
            u = np.asarray(UNROLLED.modulated(WEIGHTS, start, context))
            run_it = decides(branch, u, f)
            if run_it:
                leaving = UNROLLED.blocks(WEIGHTS, hidden, context, first, NUM_BLOCKS)
                kept[branch] = leaving - hidden
            else:
                leaving = hidden + kept[branch]
            row.append(run_it)
            said.append(UNROLLED.head(WEIGHTS, leaving, context))
        ran.append(row)
        velocity = said[1] + SCALE * (said[0] - said[1])
        x = x + (schedule.sigmas[step + 1] - schedule.sigmas[step]) * velocity
    return np.array(ran), np.asarray(x)


class PlainTeaCache:
    """TeaCache's rule for each branch: identity polynomial."""

    def __init__(self, threshold):
        self.threshold, self.last, self.total = threshold, [None, None], [0.0, 0.0]

    def __call__(self, branch, u, f):
        old, self.last[branch] = self.last[branch], u
        if old is None:
            return True
        self.total[branch] += np.abs(u - old).mean() / (np.abs(old).mean() + 1e-8)
        if self.total[branch] < self.threshold:
            return False
        self.total[branch] = 0.0
        return True


class PlainFirstBlocks:
    """DBCache's test without warm-up or caps; the difference may be the first branch's.

    As in cache-dit, each branch compares with its own last computed step, or takes what
    the conditional branch has found.
    """

    def __init__(self, threshold, shared):
        self.threshold, self.shared, self.last = threshold, shared, [None, None]
        self.found = None

    def __call__(self, branch, u, f):
        old = self.last[branch]
        if old is None:
            self.last[branch] = f
            return True
        if branch == 0 or not self.shared:
            self.found = np.abs(f - old).mean() / np.abs(old).mean()
        if self.found < self.threshold:
            return False
        self.last[branch] = f
        return True


def check(result, plain):
    ran, x = plain
    ours = np.asarray(result.stats.branches.computed)
    assert ours.tolist() == ran.tolist()
    np.testing.assert_allclose(result.sample, x, atol=2e-5)
    assert result.stats.computed.tolist() == ran.any(axis=1).tolist()
    assert result.stats.model_calls == ran.any(axis=1).sum()
    for branch in ran.T:
        assert branch.any()
        assert not branch.all()
    return ran


def test_branches_that_decide_differently():
    """Each branch gets what it gets where each is a forward of its own."""
    result = run("tea_cache", {"rel_l1_thresh": TEA}, guided=True)
    ran = check(result, plain_branches(PlainTeaCache(TEA)))
    assert (ran[:, 0] & ~ran[:, 1]).any() | (ran[:, 1] & ~ran[:, 0]).any()


@pytest.mark.parametrize("separate", [True, False])
def test_branches_may_share_the_difference(separate):
    """Apart they differ; shared, the unconditional branch follows the conditional."""
    config = {
        "residual_diff_threshold": DB,
        "max_warmup_steps": 0,
        "max_continuous_cached_steps": -1,
        "cfg_diff_compute_separate": separate,
    }
    plain = plain_branches(PlainFirstBlocks(DB, not separate), first=1)
    result = run("cache_dit", config, guided=True)
    ran = check(result, plain)
    assert (ran[:, 0] == ran[:, 1]).all() == (not separate)
    if not separate:
        signal = np.asarray(result.stats.branches.signal)
        np.testing.assert_array_equal(signal[:, 0], signal[:, 1])


def test_a_step_that_runs_is_the_networks_own_bit_for_bit():
    """In bfloat16 ``h + (out - h)`` is not ``out``: a branch that runs gets ``out``.

    The first branch computes at every step; the second only at the first one, and
    reuses at the next though the span runs there for the other.
    """
    draw = np.random.default_rng(0).normal
    hidden = jnp.asarray(draw(size=(2, 3, 2, 4, 8)) * 10, jnp.bfloat16)[:, 0]
    leaving = jnp.asarray(draw(size=(2, 2, 4, 8)), jnp.bfloat16)
    first = jnp.ones_like(hidden).at[1, 0].set(5)
    policy = compose(
        signal=FirstBlocks(), gate=Below(0.5), forecast=Hold(), span=Span(1)
    )
    branches = Branches(policy, 2)

    def at(step):
        inside = Inside(hidden[step], first[step], None, jnp.float32(1), jnp.int32(2))
        return View(step, jnp.float32(1), hidden[step], inside)

    @jax.jit
    def one(state, step):
        view = at(step)
        value, decision = gated(branches, state, view, lambda: leaving[step])
        return decision.state, branches.settle(decision.state, view, value)

    state, given = branches.init(at(jnp.int32(0)), 2), []
    for step in range(2):
        state, value = one(state, jnp.int32(step))
        given.append(value)
    assert state.ran.tolist() == [True, False]
    np.testing.assert_array_equal(given[0], leaving[0])
    np.testing.assert_array_equal(given[1][0], leaving[1][0])
    added = leaving[0][1] - hidden[0][1]
    np.testing.assert_array_equal(given[1][1], hidden[1][1] + added)
    assert (hidden[0] + (leaving[0] - hidden[0]) != leaving[0]).any()
    assert given[1].dtype == jnp.bfloat16


def test_bfloat16_skips_and_computes():
    """A network in bfloat16 keeps its dtype through skipped steps and computed ones."""
    given = (WEIGHTS, noise(), *conditions())
    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), given)
    weights, x, condition, negative = low
    result = sample(
        weights,
        model=UNROLLED,
        noise=x,
        condition=condition,
        negative_condition=negative,
        guidance_scale=SCALE,
        num_inference_steps=NUM_STEPS,
        solver="euler",
        cache="tea_cache",
        cache_config={"rel_l1_thresh": TEA},
    )
    assert result.sample.dtype == jnp.bfloat16
    assert 0 < result.stats.model_calls < NUM_STEPS
    assert not result.stats.nonfinite
