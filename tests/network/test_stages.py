"""Networks in stages: what a cache asks of them, and what it does to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Span, StagedDenoiser, compose, sample
from jax_stepcache.network.stages import check_stages
from jax_stepcache.policy.gates import Below
from jax_stepcache.policy.signals import FirstBlocks

from ..staged import (
    COMPUTING,
    NUM_BLOCKS,
    NUM_STEPS,
    ON_PURPOSE,
    SCANNED,
    SKIPPING,
    TRACED,
    UNROLLED,
    WEIGHTS,
    options,
    run,
)

BY_GUIDANCE = pytest.mark.parametrize("guided", [False, True], ids=["plain", "guided"])


def never(*_):
    raise AssertionError("the network was traced")


class Plain:
    """A network that is one function."""

    __call__ = never


def refused(model, cache, config, match):
    """The error of `sample`, which comes before anything is traced."""
    with pytest.raises(ValueError, match=match) as error:
        sample(WEIGHTS, model=model, cache=cache, cache_config=config, **options())
    return str(error.value)


@pytest.mark.parametrize("name", SKIPPING)
def test_a_plain_function_is_told_what_it_lacks(name):
    """The error names the stages that are missing and the class that takes them."""
    said = refused(Plain(), name, SKIPPING[name], "lacks")
    for part in ("embed", "blocks", "head", "num_blocks", "StagedDenoiser"):
        assert part in said
    assert "step_cache" in said


def test_a_policy_is_checked_as_a_backend_is():
    """A policy of one's own with a span is told the same."""
    policy = compose(signal=FirstBlocks(), gate=Below(0.1), span=Span(first=1))
    assert "StagedDenoiser" in refused(Plain(), policy, None, "lacks")


def test_only_what_is_missing_is_named():
    """A network with some of the stages is told of the others."""

    class Half(Plain):
        num_blocks = 3
        embed = blocks = never

    with pytest.raises(ValueError, match=r"Half lacks head\."):
        check_stages(Half(), None)


def test_tea_cache_asks_for_the_modulated_input():
    """Without ``modulated`` TeaCache is refused and DBCache is not."""
    network = StagedDenoiser(NUM_BLOCKS, never, never, never)
    refused(network, "tea_cache", None, "modulated input.*lacks 'modulated'")
    with pytest.raises(AssertionError, match="was traced"):
        sample(WEIGHTS, model=network, cache="cache_dit", **options())


@pytest.mark.parametrize(("first", "last"), [(3, 0), (1, 2), (4, 4)])
def test_some_block_must_be_left_to_skip(first, last):
    """First and last blocks that leave nothing between them are refused by number."""
    network = StagedDenoiser(NUM_BLOCKS, never, never, never)
    config = {"Fn_compute_blocks": first, "Bn_compute_blocks": last}
    said = refused(network, "cache_dit", config, f"out {first} first and {last} last")
    assert "Fn_compute_blocks, Bn_compute_blocks" in said


@ON_PURPOSE
@BY_GUIDANCE
@pytest.mark.parametrize("name", SKIPPING)
def test_every_cache_serves_a_network_of_ones_own(name, guided):
    """Skipping nothing a cache changes nothing; skipping some it does, and says so.

    Both are one program, traced once: settings are data.
    """
    uncached = run(guided=guided)
    computing = run(name, COMPUTING[name], guided)
    traces = TRACED.traces
    skipping = run(name, SKIPPING[name], guided)
    assert TRACED.traces == traces, "another setting was another program"
    assert np.asarray(computing.stats.computed).all()
    np.testing.assert_allclose(computing.sample, uncached.sample, atol=1e-6)
    assert 0 < skipping.stats.model_calls < NUM_STEPS
    assert skipping.stats.computed[0]
    assert np.abs(skipping.sample - uncached.sample).max() > 1e-4
    assert not skipping.stats.nonfinite
    assert (skipping.stats.branches is not None) == guided


@BY_GUIDANCE
def test_step_cache_takes_stages_as_one_network(guided):
    """StepCache is around the whole forward, with the same results as a function's."""
    config = {"velocity_sim_thresholds": [0.5], "velocity_skip_countdowns": [2]}
    staged = run("step_cache", config, guided)
    assert 2 <= staged.stats.model_calls < NUM_STEPS
    assert staged.stats.branches is None
    plain = run("step_cache", config, guided, model=_whole)
    assert staged.stats.computed.tolist() == plain.stats.computed.tolist()
    np.testing.assert_allclose(staged.sample, plain.sample, atol=1e-6)


def _whole(weights, x, t, condition):
    return UNROLLED(weights, x, t, condition)


def test_blocks_may_be_scanned():
    """A network whose blocks are a scan decides and computes as the unrolled one."""
    ours = run("first_block_cache", SKIPPING["first_block_cache"], model=SCANNED)
    same = run("first_block_cache", SKIPPING["first_block_cache"])
    assert ours.stats.computed.tolist() == same.stats.computed.tolist()
    assert 0 < ours.stats.model_calls < NUM_STEPS
    np.testing.assert_allclose(ours.sample, same.sample, atol=1e-5)


def test_hidden_states_may_be_trees():
    """What blocks work on may be several arrays, of several lengths and widths."""

    def embed(weights, x, t, condition):
        hidden = {"image": x @ weights["in"], "text": condition[:, None, :5]}
        return hidden, t[:, None, None] / 1000

    def blocks(weights, hidden, time, start, stop):
        for layer in range(start, stop):
            mean = hidden["text"].mean(-1, keepdims=True)
            image = jnp.tanh((hidden["image"] + time + mean) @ weights["blocks"][layer])
            text = jnp.tanh(hidden["text"] * (1 + time))
            hidden = {"image": hidden["image"] + image, "text": hidden["text"] + text}
        return hidden

    def head(weights, hidden, time):
        return hidden["image"] @ weights["out"]

    network = StagedDenoiser(NUM_BLOCKS, embed, blocks, head)
    uncached = run(model=network)
    config = SKIPPING["cache_dit"] | {"forecast": "newton"}
    cached = run("cache_dit", config, model=network)
    assert 0 < cached.stats.model_calls < NUM_STEPS
    error = jnp.abs(cached.sample - uncached.sample).mean()
    assert 1e-4 < error < 0.2 * jnp.abs(uncached.sample).mean()


def test_stages_are_the_network():
    """Called, the stages are the whole network."""
    arguments = options()
    t = jnp.full(2, 500.0)
    whole = UNROLLED(WEIGHTS, arguments["noise"], t, arguments["condition"])
    scanned = SCANNED(WEIGHTS, arguments["noise"], t, arguments["condition"])
    np.testing.assert_allclose(whole, scanned, atol=1e-6)
    assert jax.tree.map(jnp.shape, whole) == arguments["noise"].shape
