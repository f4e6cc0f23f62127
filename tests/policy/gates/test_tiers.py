import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.policy.gates import Tiers

from ...plain_step_cache import Step, plain_step_cache

NUM_STEPS = 24


@jax.jit
def walk(gate, signals):
    """The verdict, countdown and history of each step, given each step's signal."""

    def step(state, at):
        index, signal = at
        verdict = gate.decide(state, index, signal)
        state = jax.lax.cond(verdict.run, gate.record, lambda s: s, verdict.state)
        shown = verdict.signal
        return state, (verdict.run, shown, state.skip_countdown, state.history_length)

    indices = jnp.arange(len(signals))
    return jax.lax.scan(step, gate.init(len(signals)), (indices, signals))[1]


def steps_run(gate, signal, num_steps=16):
    """The steps that run while the signal stays the same."""
    run, *_ = walk(gate, jnp.full(num_steps, signal))
    return np.flatnonzero(run).tolist()


def default():
    return Tiers(jnp.array([0.95, 0.93]), jnp.array([4, 2]))


def test_always_similar_runs_four_of_sixteen():
    """Always above 0.95: steps 0, 1, 6 and 11 run."""
    assert steps_run(default(), 0.99) == [0, 1, 6, 11]


def test_band_runs_six_of_sixteen():
    """Always in (0.93, 0.95]: steps 0, 1, 4, 7, 10 and 13 run."""
    assert steps_run(default(), 0.94) == [0, 1, 4, 7, 10, 13]


def test_equality_falls_to_the_next_tier():
    """Thresholds must be exceeded: one that is met exactly belongs to the next tier."""
    gate = Tiers(jnp.array([0.5, 0.25]), jnp.array([4, 2]))
    assert steps_run(gate, 0.5) == [0, 1, 4, 7, 10, 13]
    assert steps_run(gate, 0.25) == list(range(16))
    assert steps_run(default(), np.float32(0.95)) == [0, 1, 4, 7, 10, 13]


def test_what_is_not_finite_runs():
    """NaN exceeds nothing, nor does minus infinity: every step runs."""
    assert steps_run(default(), np.nan) == list(range(16))
    assert steps_run(default(), -np.inf) == list(range(16))


def test_a_countdown_ends_in_a_run_without_a_test():
    """At the end of a countdown the network runs and the signal is not looked at."""
    run, shown, countdown, _ = walk(default(), jnp.full(8, 0.99))
    assert run.tolist() == [True, True, False, False, False, False, True, False]
    assert np.flatnonzero(~np.isnan(shown)).tolist() == [2, 7]
    assert countdown.tolist() == [0, 0, 4, 3, 2, 1, 0, 4]


def test_the_last_step_is_not_forced():
    """The rule reuses at the last step as at any other."""
    run, *_ = walk(default(), jnp.full(16, 0.99))
    assert not run[15]


def test_countdowns_of_one_alternate_with_forced_runs():
    """A countdown of 1 skips once, then runs once untested."""
    gate = Tiers(jnp.array([0.9]), jnp.array([1]))
    assert steps_run(gate, 0.99, 8) == [0, 1, 3, 5, 7]


@given(
    levels=st.lists(st.integers(-9, 9), min_size=1, max_size=3, unique=True),
    countdowns=st.lists(st.integers(1, 6), min_size=3, max_size=3),
    signals=st.lists(
        st.sampled_from([np.nan, np.inf, *(np.arange(-20, 21) / 20)]),
        min_size=NUM_STEPS,
        max_size=NUM_STEPS,
    ),
    history=st.sampled_from([(2, 2), (2, 4), (3, 3)]),
)
def test_follows_the_rule(levels, countdowns, signals, history):
    """Whatever the tiers and signals, the compiled gate does as the plain rule."""
    thresholds = np.array(sorted(levels, reverse=True)) / 10
    countdowns = countdowns[: len(thresholds)]
    gate = Tiers(jnp.asarray(thresholds), jnp.asarray(countdowns), *history)
    columns = walk(gate, jnp.asarray(signals, jnp.float32))
    ours = [Step(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
    rule = plain_step_cache(
        NUM_STEPS, lambda step, _: signals[step], thresholds, countdowns, *history
    )
    for mine, theirs in zip(ours, rule, strict=True):
        assert mine._replace(signal=0) == theirs._replace(signal=0)
        np.testing.assert_allclose(mine.signal, theirs.signal, atol=1e-6)


def test_decisions_are_elementwise():
    """Under `vmap` each element has its own countdown."""
    signals = jnp.array([[0.99] * 16, [0.94] * 16, [0.0] * 16])
    run, *_ = jax.vmap(walk, in_axes=(None, 0))(default(), signals)
    assert run.sum(axis=1).tolist() == [4, 6, 16]


def test_numbers_are_leaves_and_history_is_static():
    """Thresholds and countdowns are data; how much history is needed is structure."""
    assert len(jax.tree.leaves(default())) == 2
    other = Tiers(jnp.array([0.9, 0.8]), jnp.array([1, 1]))
    assert jax.tree.structure(default()) == jax.tree.structure(other)
    longer = Tiers(jnp.array([0.9, 0.8]), jnp.array([1, 1]), 3, 3)
    assert jax.tree.structure(other) != jax.tree.structure(longer)
