import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.policy.gates import Mask


def test_runs_where_the_mask_is_true():
    """Each step's verdict is its entry; the signal is never looked at."""
    gate = Mask(jnp.array([True, False, True]))
    state = gate.init(3)
    verdicts = [gate.decide(state, jnp.int32(i), jnp.float32(1)) for i in range(3)]
    assert [bool(v.run) for v in verdicts] == [True, False, True]
    assert all(jnp.isnan(v.signal) for v in verdicts)


@pytest.mark.parametrize("length", [2, 4])
def test_length_must_be_the_step_count(length):
    """An index past the end would be clamped without a word, so it is refused."""
    with pytest.raises(ValueError, match=rf"\({length},\); 3 steps need \(3,\)"):
        Mask(np.ones(length, bool)).init(3)


def test_masks_are_leaves():
    """Another mask of the same length is the same program."""
    assert len(jax.tree.leaves(Mask(jnp.array([True, False])))) == 1
