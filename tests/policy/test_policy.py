import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Composed, Hold, Linear, View, denoise, get_solver, step_cache
from jax_stepcache.policy.gates import Mask
from jax_stepcache.policy.signals import Cosine, Nothing

from ..networks import counted_steps

SAMPLE = {"video": jnp.zeros((1, 2)), "action": jnp.zeros((1, 3))}


def run(policy, network, num_steps=4):
    """Samples with Euler from zeros."""
    return denoise(
        network,
        SAMPLE,
        schedule=counted_steps(num_steps),
        solver=get_solver("euler"),
        policy=policy,
    )


def ramp(sample, step):
    """A velocity that grows by one at each step, in every output."""
    return jax.tree.map(lambda x: jnp.full_like(x, step), sample)


def test_a_gate_of_ones_own_composes_with_any_forecast():
    """Signal, gate and forecast are separate: StepCache's signal under a mask, say."""
    mask = jnp.array([True, True, False, False])
    policy = Composed(Cosine(), Mask(mask), Linear())
    result = run(policy, ramp)
    assert result.stats.computed.tolist() == mask.tolist()
    # The line through 0 and 1 goes on to 2 and 3, as the network itself would.
    np.testing.assert_allclose(result.sample["video"], -(0 + 1 + 2 + 3) / 4, rtol=1e-6)


def test_each_output_may_have_its_own_forecast():
    """A mapping gives the outputs different forecasts under one decision."""
    forecast = {"video": Linear(), "action": Hold()}
    mask = Mask(jnp.array([True, True, False, False]))
    result = run(Composed(Nothing(), mask, forecast), ramp)
    assert result.stats.computed.tolist() == [True, True, False, False]
    np.testing.assert_allclose(result.sample["video"], -(0 + 1 + 2 + 3) / 4, rtol=1e-6)
    np.testing.assert_allclose(result.sample["action"], -(0 + 1 + 1 + 1) / 4, rtol=1e-6)


def test_forecasts_must_fit_the_outputs():
    """A mapping that misses an output is an error, before the network is traced."""
    policy = step_cache(forecast={"video": "hold"})

    def never(sample, step):
        raise AssertionError("the network was traced")

    with pytest.raises(ValueError, match=r"forecast is given as .* one per output"):
        run(policy, never)


def test_signal_is_shown_only_where_it_was_tested():
    """Steps at which the gate did not look report NaN."""
    result = run(step_cache(), lambda x, step: jax.tree.map(jnp.ones_like, x), 8)
    assert result.stats.computed.tolist() == [1, 1, 0, 0, 0, 0, 1, 0]
    assert np.flatnonzero(~np.isnan(result.stats.signal)).tolist() == [2, 7]


def test_a_policy_needs_only_four_functions():
    """Anything with init, decide, record and predict is a policy."""

    class EverySecond:
        def init(self, view, num_steps):
            return view.sample

        def decide(self, state, view):
            from jax_stepcache.policy.policy import Decision

            return Decision(view.step % 2 == 0, jnp.float32(jnp.nan), state)

        def record(self, state, view: View, velocity):
            return velocity

        def predict(self, state, view):
            return state

    result = run(EverySecond(), ramp)
    assert result.stats.computed.tolist() == [True, False, True, False]
    np.testing.assert_allclose(result.sample["video"], -(0 + 0 + 2 + 2) / 4)
