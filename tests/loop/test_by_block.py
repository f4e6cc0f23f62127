"""A gate around every block, apart from the recorded runs of DBPrune."""

import jax
import numpy as np
import pytest

from jax_stepcache import EachBlock, Every, compose, db_prune, restarting, sample
from jax_stepcache.measure.flops import forward_flops

from ..staged import NUM_BLOCKS, NUM_STEPS, SCANNED, UNROLLED, WEIGHTS, options, run


@pytest.mark.parametrize("guided", [False, True])
def test_each_block_has_one_call_site(guided):
    """As many matrix products as without a cache, and a cond for each gated block."""

    def sampler(weights):
        policy = db_prune(0.3, warmup_steps=2, non_prune_blocks=[1])
        given = options(guided)
        return sample(weights, model=UNROLLED, cache=policy, **given).sample

    program = str(jax.make_jaxpr(sampler)(WEIGHTS))
    assert program.count("dot_general[") == 2 + NUM_BLOCKS
    assert program.count("while[") == 1
    assert program.count("cond[") == NUM_BLOCKS - 2


@pytest.mark.parametrize(
    "model", [UNROLLED, pytest.param(SCANNED, marks=pytest.mark.slow)]
)
def test_blocks_that_all_run_are_the_network(model):
    """With warm-up all the way the sample is the uncached one, branch by branch."""
    policy = db_prune(1.0, warmup_steps=NUM_STEPS - 1, first_blocks=0)
    result = run(policy, guided=True, model=model)
    computed = np.asarray(result.stats.blocks.computed)
    assert computed.shape == (NUM_STEPS, 2, NUM_BLOCKS)
    assert computed[:-1].all()
    assert not computed[-1].any()
    wanted = run(db_prune(1.0, warmup_steps=NUM_STEPS - 1), guided=True, model=model)
    uncached = run(guided=True, model=model)
    near = np.abs(uncached.sample - result.sample).max()
    assert 0 < near < np.abs(uncached.sample).max() / 10
    assert not np.array_equal(wanted.sample, result.sample), "block 0 ran there"


@pytest.mark.parametrize("guided", [False, True])
def test_any_policy_may_be_that_of_each_block(guided):
    """Where all blocks skip together, they add what they would as one span."""
    gate = Every(2)
    each = run(compose(gate=gate, span="each block"), guided=guided)
    whole = run(compose(gate=gate, span="blocks"), guided=guided)
    np.testing.assert_allclose(each.sample, whole.sample, atol=1e-5)
    blocks = np.asarray(each.stats.blocks.computed)
    ran = [step % 2 == 0 for step in range(NUM_STEPS)]
    assert (blocks == np.reshape(ran, (-1, 1, 1))).all()
    assert np.asarray(each.stats.computed).tolist() == ran


def test_what_blocks_count_is_theirs_together():
    """A cap on steps holds for all: blocks do not take turns past it."""
    policy = db_prune(1.0, warmup_steps=1, max_cached_steps=3, first_blocks=0)
    blocks = np.asarray(run(policy).stats.blocks.computed)[:, 0]
    skipping = np.flatnonzero(~blocks.all(axis=1))
    assert len(skipping) == 3
    again = run(restarting(policy, 4)).stats.blocks.computed
    assert np.asarray(again)[4].all(), "it starts afresh"
    assert np.flatnonzero(~np.asarray(again)[:, 0].all(axis=1)).max() > 4


def test_operations_are_counted_by_blocks():
    """A step that skips half of its blocks costs half of what these cost."""
    policy = db_prune(0.25, warmup_steps=1, max_continuous_cached_steps=-1)
    given = options()
    result = sample(WEIGHTS, model=UNROLLED, cache=policy, **given)
    ran = np.asarray(result.stats.blocks.computed)
    assert 0 < ran.mean() < 1
    flops = forward_flops(WEIGHTS, model=UNROLLED, cache=policy, **given)
    whole = forward_flops(WEIGHTS, model=UNROLLED, **given)
    assert flops.every + flops.span == whole.span
    one = flops.span // ran.shape[2]
    assert flops.of(result.stats) == NUM_STEPS * flops.every + int(ran.sum()) * one
    assert f"{ran.mean():.0%} of its blocks" in repr(result.stats)


def test_blocks_that_always_run_are_named_by_number():
    """In any order, once each; those that the network has not are nobody's."""
    span = EachBlock(1, 1, (4, 2, 2, 9))
    assert span.always == (2, 4, 9)
    assert span.gated(8) == (1, 3, 5, 6)
