"""Policies for models of two experts, and those of the papers' own code."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    Every,
    Mask,
    View,
    WarmUp,
    compose,
    db_cache,
    original_mag_cache,
    original_tea_cache,
    switching,
    tea_cache,
)
from jax_stepcache.policy.gates import Always
from jax_stepcache.policy.gates.base import chosen
from jax_stepcache.policy.gates.padded import padded
from jax_stepcache.policy.named.mag_cache import nearest_steps

SIGMAS = np.linspace(1, 0.1, 10, dtype=np.float32)


def _masked(*steps: int) -> Any:
    """A policy of the whole forward that runs these of ten steps."""
    return compose(gate=Mask(jnp.zeros(10, bool).at[jnp.array(steps)].set(True)))


def _walk(policy: Any, sigmas: np.ndarray = SIGMAS) -> tuple[list[bool], list[float]]:
    """Which steps run, and what each gives; step i computes i."""

    def view(step: int) -> View:
        sigma = jnp.float32(sigmas[step])
        return View(jnp.int32(step), sigma, jnp.zeros(1))

    # As in the loop: a count that is traced is compared with no mask.
    @jax.jit
    def advance(state: Any, step: Any) -> Any:
        now = View(step, jnp.asarray(sigmas)[step], jnp.zeros(1))
        decision = policy.decide(state, now)
        value = jnp.full(1, step, jnp.float32)
        recorded = policy.record(decision.state, now, value)
        value = jnp.where(decision.run, value, policy.predict(decision.state, now))
        return chosen(decision.run, recorded, decision.state), decision.run, value[0]

    state, ran, values = jax.jit(lambda n: policy.init(view(0), n))(len(sigmas)), [], []
    for step in range(len(sigmas)):
        state, run, value = advance(state, step)
        ran.append(bool(run))
        values.append(float(value))
    return ran, values


def test_the_second_counts_from_its_first_step() -> None:
    """Below the boundary the second decides, by steps of its own, with nothing kept."""
    policy = switching(_masked(0, 2), _masked(0, 3), 0.65)
    ran, values = _walk(policy)
    # Sigmas of 1, .9, .8, .7 are above; then come steps 0 to 5 of the second.
    assert [i for i, one in enumerate(ran) if one] == [0, 2, 4, 7]
    assert values == [0, 0, 2, 2, 4, 4, 4, 7, 7, 7]


def test_a_walk_that_begins_below() -> None:
    """Where no step is above, the second decides from the start."""
    ran, _ = _walk(switching(_masked(0, 2), _masked(0, 3), 0.65), SIGMAS[5:])
    assert [i for i, one in enumerate(ran) if one] == [0, 3]


def test_experts_have_one_state() -> None:
    """Other numbers are leaves and take no second memory; other spans are refused."""
    first, second = db_cache(0.1), db_cache(0.2, max_cached_steps=3)
    policy = switching(first, second, 0.9)
    assert policy.span == first.span
    assert policy.looks_at == "first blocks"
    assert len(jax.tree.leaves(policy)) == 2 * len(jax.tree.leaves(first)) + 1
    with pytest.raises(ValueError, match="must skip the same blocks"):
        switching(first, db_cache(first_blocks=2), 0.9)
    with pytest.raises(ValueError, match="sigma"):
        switching(first, second, 1.5)
    assert switching(compose(gate=Always()), compose(gate=Always()), 0.5).span is None


def test_experts_of_other_parts_have_states_of_their_own() -> None:
    """Other gates and forecasts: each decides by its own, in one loop."""
    every = compose(gate=Every(2), forecast="linear")
    for first, second in ((_masked(0, 2), every), (every, _masked(0, 3))):
        ran, values = _walk(switching(first, second, 0.65))
        above, below = _walk(first), _walk(second, SIGMAS[4:])
        assert ran == above[0][:4] + below[0]
        # Below, steps count from 0, and step i computes i from 4 on.
        moved = [x + 4 for x in below[1]]
        np.testing.assert_allclose(values, above[1][:4] + moved, atol=1e-5)


def test_what_is_seen_is_what_either_looks_at() -> None:
    """A policy that looks at nothing goes with any other of its span."""
    blind = compose(gate=Every(2), span=tea_cache().span)
    for pair in ((blind, tea_cache()), (tea_cache(), blind)):
        assert switching(*pair, 0.5).looks_at == "modulated"
    assert switching(blind, blind, 0.5).looks_at == "nothing"


def _forwards(
    ratios: np.ndarray, thresh: float, most: int, active: list[bool]
) -> list[bool]:
    """Which forwards run, counted one by one, two a step."""
    ratio, error, skipped, ran = [1.0, 1.0], [0.0, 0.0], [0, 0], []
    for count, adds in enumerate(active):
        b, skips = count % 2, False
        if adds:
            ratio[b] *= ratios[count]
            skipped[b] += 1
            error[b] += abs(1 - ratio[b])
            skips = error[b] < thresh and skipped[b] <= most
            if not skips:
                ratio[b], error[b], skipped[b] = 1.0, 0.0, 0
        ran.append(not skips or count < 2)
    return ran


@given(
    st.lists(st.floats(0.8, 1.2), min_size=8, max_size=24),
    st.floats(0.01, 0.4),
    st.integers(0, 4),
    st.floats(0, 1),
    st.none() | st.integers(0, 4),
    st.booleans(),
)
def test_original_mag_cache_counts_forwards(
    ratios: list[float],
    thresh: float,
    most: int,
    retained: float,
    split: int | None,
    spares: bool,
) -> None:
    """As its authors' code does, forward by forward, of one network and of two."""
    ratios = ratios[: len(ratios) // 2 * 2]
    total = len(ratios)
    high = 0 if split is None else 2 * split

    def adds(count: int) -> bool:
        if split is None:
            return count >= int(total * retained)
        if spares:
            return count >= int(high + (total - high) * retained)
        begins = (total - high) * retained + high
        return count >= int(high * retained) and not (high <= count <= begins)

    policy = original_mag_cache(
        ratios,
        thresh,
        most,
        retained,
        num_steps=total // 2,
        split_step=split,
        spares_high=spares,
    )
    active = [adds(count) for count in range(total)]
    wanted = _forwards(np.array(ratios), thresh, most, active)
    assert policy.gate.mask.T.reshape(-1).tolist() == wanted


def test_original_mag_cache_resamples_each_branch() -> None:
    """Curves of other lengths are stretched, each branch's own; masks are padded."""
    curve = [[1.0, 0.5, 1.0], [1.0, 1.0, 0.5]]
    policy = original_mag_cache(curve, 0.1, 9, 0.0, num_steps=5)
    assert policy.gate.mask.astype(int).tolist() == [[1, 0, 1, 0, 0], [1, 0, 0, 1, 1]]
    wide = padded(policy, 5, 8)
    assert wide.gate.mask.shape == (2, 8)
    with pytest.raises(ValueError, match=r"need \(branches, 6\)"):
        padded(policy, 6, 8)
    with pytest.raises(ValueError, match="mag_ratios"):
        original_mag_cache([1.0, 0.9, 0.8], num_steps=3)


def test_of_two_steps_as_near_each_takes_its_own() -> None:
    """49 steps over 42 fall between two; float32 and float64 round them otherwise."""
    single, double = nearest_steps(50, 43), nearest_steps(50, 43, np.float64)
    assert (single != double).nonzero()[0].tolist() == [27]
    assert single[[0, -1]].tolist() == double[[0, -1]].tolist() == [0, 49]
    assert nearest_steps(50, 1).tolist() == [49]


def test_original_tea_cache_falls_where_its_polynomial_does() -> None:
    """What is added may be negative; forced steps are the first, or five of them."""
    plain = original_tea_cache(0.1, [1.0, -0.5])
    gate = plain.gate.gate.gate
    state = gate.record(gate.init(9))
    verdict = gate.decide(state, jnp.int32(3), jnp.float32(0.2))
    assert not verdict.run
    assert verdict.signal == pytest.approx(-0.3)
    retained = original_tea_cache(0.1, [1.0, 0.0], use_ret_steps=True)
    assert isinstance(retained.gate, WarmUp)
    assert (plain.gate.steps, retained.gate.steps) == (1, 5)
    assert retained.signal.projected
