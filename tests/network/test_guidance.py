import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache.network.guidance import guide, stack_branches

CONDITIONAL, UNCONDITIONAL = 3.0, 1.0


def both(sample):
    """A network that answers 3 in the first half of its rows and 1 in the second."""

    def answer(x):
        half = x.shape[0] // 2
        value = jnp.where(jnp.arange(x.shape[0]) < half, CONDITIONAL, UNCONDITIONAL)
        return jnp.broadcast_to(value[:, None], x.shape).astype(x.dtype)

    return jax.tree.map(answer, sample)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.0, 5.0])
def test_formula(scale):
    """The guided velocity is ``uncond + scale * (cond - uncond)``."""
    velocity = guide(both, jnp.zeros((2, 3)), jnp.float32(scale), None)
    np.testing.assert_allclose(velocity, np.full((2, 3), 1 + scale * 2))


def test_outputs_that_are_not_guided_are_conditional():
    """Guidance mixes the video; the action is the conditional branch's alone."""
    sample = {"video": jnp.zeros((1, 3)), "action": jnp.zeros((1, 2))}
    velocity = guide(both, sample, jnp.float32(5), ("video",))
    assert velocity["video"].tolist() == [[11.0] * 3]
    assert velocity["action"].tolist() == [[3.0] * 2]


def test_both_branches_are_one_batch():
    """The network is asked once, for twice the rows, the conditional ones first."""
    asked = []
    guide(lambda x: asked.append(x) or both(x), jnp.ones((2, 3)), jnp.float32(2), None)
    assert [x.shape for x in asked] == [(4, 3)]
    stacked = stack_branches({"text": jnp.zeros((2, 1))}, {"text": jnp.ones((2, 1))})
    assert stacked["text"][:, 0].tolist() == [0, 0, 1, 1]


def test_low_precision_is_kept():
    """A float32 scale does not widen a bfloat16 velocity."""
    velocity = guide(both, jnp.zeros((1, 2), jnp.bfloat16), jnp.float32(2), None)
    assert velocity.dtype == jnp.bfloat16
    assert velocity.tolist() == [[5.0, 5.0]]
