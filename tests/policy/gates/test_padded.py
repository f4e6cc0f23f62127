"""Gates of different step counts are made alike in shape, and decide as before."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    Always,
    ForcedSteps,
    Magnitude,
    Mask,
    Restarting,
    WarmUp,
    compose,
)
from jax_stepcache.policy.gates.padded import padded

LENGTH = 9


def verdicts(gate: Any, num_steps: int) -> list[bool]:
    """Which of the steps run."""
    state, ran = gate.init(num_steps), []
    for step in range(num_steps):
        verdict = gate.decide(state, jnp.int32(step), jnp.float32(jnp.nan))
        state = gate.record(verdict.state) if verdict.run else verdict.state
        ran.append(bool(verdict.run))
    return ran


@given(
    mask=st.lists(st.booleans(), min_size=1, max_size=LENGTH),
    ratios=st.lists(st.floats(0.75, 1.25, width=32), min_size=1, max_size=12),
)
def test_padding_changes_no_decision(mask: list[bool], ratios: list[float]) -> None:
    """Masks, forced steps and curves, alone and inside one another."""
    steps = len(mask)
    curve = Magnitude(jnp.asarray(ratios, jnp.float32), 0.2, 3, 1)
    for gate in (curve, ForcedSteps(WarmUp(curve, 2), jnp.asarray(mask))):
        wide = padded(gate, steps, LENGTH)
        assert verdicts(wide, steps) == verdicts(gate, steps)
        assert {x.shape for x in jax.tree.leaves(wide) if np.ndim(x)} == {(LENGTH,)}
    wide = padded(Mask(jnp.asarray([True, *mask[1:]])), steps, LENGTH)
    assert wide.mask.shape == (LENGTH,)
    assert wide.mask[:steps].tolist() == [True, *mask[1:]]


def test_a_mask_is_compared_with_its_own_steps() -> None:
    """One that is too short is an error before it is padded; others are left alone."""
    policy = Restarting(compose(gate=Mask(jnp.ones(4, bool))), jnp.int32(2))
    assert padded(policy, 4, LENGTH).policy.gate.mask.shape == (LENGTH,)
    with pytest.raises(ValueError, match=r"\(4,\); 5 steps need"):
        padded(policy, 5, LENGTH)
    gate = Always()
    assert padded(gate, 4, LENGTH) is gate
