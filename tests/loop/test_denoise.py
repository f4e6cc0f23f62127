import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    Euler,
    Uncached,
    UniPC,
    denoise,
    explicit_schedule,
    flow_schedule,
    static_schedule,
    step_cache,
)

from ..jaxprs import primitives
from ..networks import counted_steps

NOISE = jnp.array([[0.5, -0.25]])


def run(network, policy, schedule=None, noise=NOISE, solver=None):
    return denoise(
        network,
        noise,
        schedule=counted_steps() if schedule is None else schedule,
        solver=Euler() if solver is None else solver,
        policy=policy,
    )


def ones(sample, step):
    return jax.tree.map(jnp.ones_like, sample)


@pytest.mark.parametrize(
    "policy", [Uncached(), step_cache(), static_schedule([1] + [0] * 15)]
)
@pytest.mark.parametrize("solver", [Euler(), UniPC()])
def test_the_solver_steps_on_skipped_steps_too(policy, solver):
    """A constant velocity leads to the same end, however often it is computed."""
    result = run(ones, policy, solver=solver)
    np.testing.assert_allclose(result.sample, NOISE - 1, atol=1e-5)
    assert result.stats.model_calls == result.stats.computed.sum()


def test_statistics():
    """Computed steps, signals, calls and finiteness have their shapes and dtypes."""
    stats = run(ones, step_cache()).stats
    assert (stats.computed.dtype, stats.computed.shape) == (bool, (16,))
    assert (stats.signal.dtype, stats.signal.shape) == (jnp.float32, (16,))
    assert (stats.model_calls.dtype, stats.model_calls.shape) == (jnp.int32, ())
    assert (stats.nonfinite.dtype, stats.nonfinite.shape) == (bool, ())
    assert np.flatnonzero(stats.computed).tolist() == [0, 1, 6, 11]
    assert stats.model_calls == 4
    assert not stats.nonfinite


def test_the_network_is_traced_once():
    """One call site: the network is in the program once, cached or not."""
    for policy in (Uncached(), step_cache()):
        traces = []
        run(lambda x, step, seen=traces: seen.append(1) or x, policy)
        assert len(traces) == 1


def test_only_a_cached_loop_has_a_branch():
    """The uncached program has no `cond`, the cached one exactly one."""

    def count(policy):
        return primitives(lambda noise: run(ones, policy, noise=noise), NOISE)["cond"]

    assert count(Uncached()) == 0
    assert count(step_cache()) == 1
    assert count(static_schedule([1, 0] * 8)) == 1


def test_a_bad_velocity_is_computed_over_and_flagged():
    """A NaN exceeds no threshold, so the network runs, and the result says so."""

    def spoilt_at_3(sample, step):
        return jnp.where(step == 3, jnp.nan, jnp.ones_like(sample))

    steady = run(ones, step_cache((0.95,), (1,)))
    assert np.flatnonzero(steady.stats.computed)[:5].tolist() == [0, 1, 3, 5, 7]
    stats = run(spoilt_at_3, step_cache((0.95,), (1,))).stats
    # Step 3 gives NaN; 4 sees a NaN cosine and runs; 5 too, whose last two hold it.
    assert np.flatnonzero(stats.computed).tolist()[:5] == [0, 1, 3, 4, 5]
    assert not stats.computed.all()
    assert stats.nonfinite


def test_infinity_is_flagged_without_a_cache():
    """The flag does not depend on the policy."""
    result = run(lambda x, step: jnp.where(step == 2, jnp.inf, x), Uncached())
    assert result.stats.nonfinite
    assert result.stats.computed.all()


def test_outputs_may_have_schedules_of_their_own():
    """Decoupled schedules: each output ends at its own sigma."""
    noise = {"video": NOISE, "action": NOISE}
    schedule = {"video": flow_schedule(4, 5.0, 0.8), "action": flow_schedule(4, 5.0)}
    result = run(ones, Uncached(), schedule, noise)
    for name, s in schedule.items():
        expected = NOISE + s.sigmas[-1] - s.sigmas[0]
        np.testing.assert_allclose(result.sample[name], expected, atol=1e-6)


def test_a_policy_sees_the_sigma_of_each_output():
    """A linear forecast on decoupled schedules extrapolates each in its own sigma."""
    noise = {"video": NOISE, "action": NOISE}
    schedule = {"video": flow_schedule(6, 1.0, 0.5), "action": flow_schedule(6, 3.0)}
    tables = {name: jnp.asarray(s.sigmas) for name, s in schedule.items()}

    def affine(sample, step):
        return {
            name: jnp.full_like(x, 2 - tables[name][step]) for name, x in sample.items()
        }

    exact = run(affine, Uncached(), schedule, noise)
    policy = static_schedule([1, 1, 0, 1, 0, 0], "linear")
    result = run(affine, policy, schedule, noise)
    assert result.stats.model_calls == 3
    for name in noise:
        np.testing.assert_allclose(result.sample[name], exact.sample[name], atol=1e-5)


def test_one_step():
    """A schedule of one step runs once."""
    result = run(ones, step_cache(), explicit_schedule([1.0, 0.0]))
    np.testing.assert_allclose(result.sample, NOISE - 1)
    assert result.stats.computed.tolist() == [True]


@pytest.mark.parametrize(
    "network",
    [
        lambda x, step: x[:, :1],
        lambda x, step: {"video": x},
        lambda x, step: (x, x),
    ],
)
def test_a_velocity_of_another_shape_is_refused(network):
    """The network must answer in the sample's structure and shapes."""
    with pytest.raises(ValueError, match="the model's velocity has shapes"):
        run(network, Uncached())


def test_low_precision_samples_keep_their_dtype():
    """A bfloat16 sample stays bfloat16, whatever the network's dtype."""
    noise = NOISE.astype(jnp.bfloat16)
    for solver in (Euler(), UniPC()):
        result = run(
            lambda x, step: jnp.ones(x.shape, jnp.float32),
            step_cache(),
            noise=noise,
            solver=solver,
        )
        assert result.sample.dtype == jnp.bfloat16
        np.testing.assert_allclose(result.sample.astype(float), NOISE - 1, atol=0.05)
        assert result.stats.model_calls == 4
