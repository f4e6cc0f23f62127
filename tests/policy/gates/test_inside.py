"""The gates of caches inside the network follow their rules, alone and nested."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache.policy.gates import (
    Accumulate,
    Always,
    Below,
    ForcedSteps,
    LastStep,
    Magnitude,
    MaxConsecutive,
    MaxSkips,
    WarmUp,
)

from .plain_gates import (
    PlainAccumulate,
    PlainBelow,
    PlainForcedSteps,
    PlainLastStep,
    PlainMagnitude,
    PlainMaxConsecutive,
    PlainMaxSkips,
    PlainWarmUp,
    plain_walk,
)

NUM_STEPS = 14

# Multiples of 1/32, whose sums are exact in float32: a threshold may be met exactly.
eighths = st.integers(0, 16).map(lambda n: n / 32)
rows = st.lists(
    st.one_of(eighths, eighths, st.just(np.nan)),
    min_size=NUM_STEPS,
    max_size=NUM_STEPS,
)
caps = st.sampled_from([np.inf, 0.25, 1.0])
skips = st.integers(-1, 4)
masks = st.lists(st.booleans(), min_size=NUM_STEPS - 3, max_size=NUM_STEPS - 3)


@jax.jit
def walk(gate, signals):
    """Which steps run, what was compared, and the gate's state after each."""

    def step(state, at):
        index, signal = at
        verdict = gate.decide(state, index, signal)
        after = jax.lax.cond(verdict.run, gate.record, lambda s: s, verdict.state)
        return after, (verdict.run, verdict.signal, verdict.threshold)

    indices = jnp.arange(len(signals))
    return jax.lax.scan(step, gate.init(len(signals)), (indices, signals))[1]


def numbers(*values):
    """As arrays of fixed dtypes, so that all examples are one program."""
    return [
        jnp.asarray(v, jnp.int32 if isinstance(v, int) else jnp.float32) for v in values
    ]


def compare(gate, plain, signals):
    """The gate does as the plain rule; returns the steps that ran."""
    ran, shown, threshold = map(
        np.asarray, walk(gate, jnp.asarray(signals, jnp.float32))
    )
    expected, compared = plain_walk(plain, signals)
    assert ran.tolist() == expected
    np.testing.assert_allclose(shown, compared, atol=1e-6)
    # A threshold is shown with every signal, and only there.
    known = ~np.isnan(np.asarray(compared))
    assert not np.isnan(threshold[known]).any()
    assert ran[0], "there was nothing to reuse"
    return ran


@given(threshold=eighths, cap=caps, signals=rows, inclusive=st.booleans())
def test_below_follows_the_rule(threshold, cap, signals, inclusive):
    """Strictly below reuses, or equal too where asked; the sum has a cap; NaN runs."""
    gate = Below(*numbers(threshold, cap), inclusive=inclusive)
    compare(gate, PlainBelow(threshold, cap, inclusive), signals)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_below_reuses_and_runs(bad):
    """At 1/4: smaller signals reuse, equal ones run unless inclusive, NaN runs.

    Without a cap, a signal that is not finite runs its own step and no other.
    """
    signals = [0.0, 0.125, 0.25, 0.5, bad, 0.125]
    for inclusive, expected in (
        (False, [1, 0, 1, 1, 1, 0]),
        (True, [1, 0, 0, 1, 1, 0]),
    ):
        gate = Below(*numbers(0.25, np.inf), inclusive=inclusive)
        ran = compare(gate, PlainBelow(0.25, np.inf, inclusive), signals)
        assert ran.astype(int).tolist() == expected


def test_below_infinity_compares_nothing():
    """A threshold of infinity reuses whatever the signal, and shows none."""
    ran, shown, _ = walk(Below(*numbers(np.inf, np.inf)), jnp.full(4, jnp.nan))
    assert ran.tolist() == [True, False, False, False]
    assert np.isnan(shown).all()


@given(
    threshold=eighths,
    signals=rows,
    coefficients=st.lists(st.integers(-2, 2), min_size=3, max_size=3),
)
def test_accumulate_follows_the_rule(threshold, signals, coefficients):
    """The polynomial's absolute value adds up; at the threshold it runs and is 0."""
    coefficients = [float(c) for c in coefficients]
    gate = Accumulate(*numbers(threshold, coefficients))
    compare(gate, PlainAccumulate(threshold, coefficients), signals)
    gate = Accumulate(*numbers(threshold))
    compare(gate, PlainAccumulate(threshold, None), signals)


def test_accumulate_recovers_from_nan():
    """A NaN runs its step and leaves nothing in the sum."""
    signals = [0.125, 0.125, np.nan, 0.125, 0.125, 0.125]
    ran = compare(Accumulate(*numbers(0.3)), PlainAccumulate(0.3, None), signals)
    assert ran.tolist() == [True, False, True, False, False, True]


@given(
    ratios=st.lists(st.integers(-3, 3), min_size=9, max_size=9),
    threshold=eighths,
    max_skip=st.integers(1, 4),
    retention=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
)
def test_magnitude_follows_the_rule(ratios, threshold, max_skip, retention):
    """Product, error and count start anew at each run; past its end a curve is 1."""
    ratios = [1 + n / 8 for n in ratios]
    settings = (threshold, max_skip, retention)
    retained = int(retention * NUM_STEPS + 0.5)
    gate = Magnitude(*numbers(ratios, threshold, max_skip), retained)
    plain = PlainMagnitude(ratios, *settings, NUM_STEPS)
    ran = compare(gate, plain, [np.nan] * NUM_STEPS)
    assert ran[: plain.retained].all()
    assert longest(ran) <= max_skip


def longest(ran):
    """The most skips in a row."""
    return max(len(list(row)) if not run else 0 for run, row in itertools.groupby(ran))


# From the inside out: how each combinator wraps a gate, and the plain one.
WRAPS = {
    "warm-up": lambda s: (
        lambda gate: WarmUp(gate, *numbers(s["steps"], s["interval"])),
        lambda plain: PlainWarmUp(plain, s["steps"], s["interval"]),
    ),
    "forced": lambda s: (
        lambda gate: ForcedSteps(gate, jnp.asarray(s["mask"])),
        lambda plain: PlainForcedSteps(plain, s["mask"]),
    ),
    "last": lambda s: (
        LastStep,
        lambda plain: PlainLastStep(plain, NUM_STEPS),
    ),
    "in a row": lambda s: (
        lambda gate: MaxConsecutive(gate, *numbers(s["row"])),
        lambda plain: PlainMaxConsecutive(plain, s["row"]),
    ),
    "in all": lambda s: (
        lambda gate: MaxSkips(gate, *numbers(s["all"])),
        lambda plain: PlainMaxSkips(plain, s["all"]),
    ),
}
# Each combinator is around every other in one of these.
NAMES = list(WRAPS)
ORDERS = [NAMES, NAMES[::-1], NAMES[2:] + NAMES[:2]]

numbered = st.fixed_dictionaries(
    {
        "steps": st.integers(0, 5),
        "interval": st.integers(1, 3),
        "mask": masks,
        "row": skips,
        "all": st.integers(-1, 8),
    }
)


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0] + " first")
@given(set_to=numbered, signals=rows, threshold=eighths)
def test_combinators_follow_their_rules_in_any_nesting(
    order, set_to, signals, threshold
):
    """Whatever is around what: the inner gate is asked where nothing is forced."""
    gate = Accumulate(*numbers(threshold))
    plain = PlainAccumulate(threshold, None)
    for name in order:
        wrap, plainly = WRAPS[name](set_to)
        gate, plain = wrap(gate), plainly(plain)
    ran = compare(gate, plain, signals)
    assert ran[range(0, set_to["steps"], set_to["interval"])].all()
    assert ran[: len(set_to["mask"])][set_to["mask"]].all()
    assert ran[-1]
    if set_to["row"] >= 0:
        assert longest(ran) <= set_to["row"]
    if set_to["all"] >= 0:
        assert (~ran).sum() <= set_to["all"]


def test_combinators_let_skip_what_they_do_not_force():
    """With all five around a gate that would reuse forever, the rest is skipped."""
    gate = Accumulate(*numbers(1e6))
    set_to = {"steps": 3, "interval": 2, "mask": [0] * 6 + [1], "row": 3, "all": 7}
    for name in NAMES:
        gate = WRAPS[name](set_to)[0](gate)
    ran, *_ = walk(gate, jnp.zeros(NUM_STEPS))
    expected = [1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1]
    assert ran.astype(int).tolist() == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_forced_step_does_not_touch_what_is_inside(name):
    """At a forced step nothing is compared, and the inner gate's state stays."""
    set_to = {"steps": 1, "interval": 1, "mask": [1], "row": 0, "all": 0}
    inner = Below(*numbers(0.5, np.inf))
    gate = WRAPS[name](set_to)[0](inner)
    state = gate.init(1)
    recorded = gate.record(state)  # as if it had run before: now it would compare
    for signal in (0.25, np.nan):
        verdict = gate.decide(recorded, jnp.int32(0), jnp.float32(signal))
        assert bool(verdict.run)
        assert np.isnan(verdict.signal)
        assert np.isnan(verdict.threshold)
        inside = verdict.state if name in ("warm-up", "forced") else verdict.state.inner
        assert inside == inner.record(inner.init(1))
    free = inner.decide(inner.record(inner.init(1)), jnp.int32(0), jnp.float32(0.25))
    assert not free.run


def test_a_calibrating_gate_runs_and_shows():
    """`Always` compares with nothing and lets the signal through."""
    ran, shown, threshold = walk(Always(), jnp.array([0.5, jnp.nan, 2.0]))
    assert ran.all()
    np.testing.assert_array_equal(shown, [0.5, np.nan, 2.0])
    assert np.isnan(threshold).all()


def test_decisions_are_elementwise():
    """Under `vmap` each element has its own threshold, cap and count."""
    signals = jnp.full(NUM_STEPS, 0.125)
    gate = jax.vmap(lambda t, n: MaxConsecutive(Accumulate(t), n))(
        jnp.array([0.3, 10.0, 10.0, 0.0]), jnp.array([-1, 3, -1, 3])
    )
    ran, *_ = jax.vmap(walk, in_axes=(0, None))(gate, signals)
    assert ran.sum(axis=1).tolist() == [5, 4, 1, NUM_STEPS]


def test_numbers_are_leaves():
    """Thresholds, caps, masks and curves are data; only equality is structure."""
    gates = [
        (Below(0.1), 2),
        (Accumulate(0.1), 1),
        (Accumulate(0.1, [1.0, 0.0]), 3),
        (Magnitude(jnp.ones(3)), 4),
        (WarmUp(Below(0.1), 3), 4),
        (LastStep(MaxSkips(MaxConsecutive(Below(0.1), 1), 2)), 4),
    ]
    for gate, count in gates:
        assert len(jax.tree.leaves(gate)) == count
    structure = jax.tree.structure
    assert structure(Below(0.1)) == structure(Below(0.2))
    assert structure(Below(0.1)) != structure(Below(0.1, inclusive=True))
