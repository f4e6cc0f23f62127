"""CFG-Cache apart from the recorded runs: its arithmetic, and what it needs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Every, cfg_cache, compose, summary
from jax_stepcache.policy.named.frequencies import weighted

from ...staged import NUM_STEPS, conditions, run

EARLY = {
    "unconditional_batch_skip_range": 3,
    "unconditional_batch_timestep_skip_range": (-1, 950),
}


def test_asked_at_every_step_is_no_cache():
    """With a range of 1, branches asked one by one say what they say together."""
    usual = run(None, guided=True)
    config = {"unconditional_batch_skip_range": 1}
    each = run("cfg_cache", config, guided=True)
    np.testing.assert_allclose(each.sample, usual.sample, atol=1e-6)
    assert each.stats.branches.computed.all()


def test_a_line_is_nearer_than_a_hold():
    """The difference may be forecast, and the reused guidance comes nearer."""
    usual = run(None, guided=True).sample
    far = [
        np.abs(
            run("cfg_cache", EARLY, guided=True, forecast=forecast).sample - usual
        ).max()
        for forecast in ("hold", "linear")
    ]
    assert 0 < far[1] < far[0]


def test_each_branch_may_have_any_policy():
    """A span of branches: both are skipped, each with a memory of its own."""
    result = run(compose(gate=Every(2), forecast="hold", span="branches"), guided=True)
    ran = np.asarray(result.stats.branches.computed)
    assert ran.tolist() == [[step % 2 == 0] * 2 for step in range(NUM_STEPS)]
    single = run(compose(gate=Every(2), forecast="hold", span="branches"))
    assert single.stats.model_calls == NUM_STEPS // 2


def test_what_was_asked_is_told():
    """The summary has a row for each branch, and only the other skips."""
    result = run("cfg_cache", EARLY, guided=True)
    first, other = summary(result).rows
    assert (first.cached, first.unused) == (0, None)
    assert other.computed == np.asarray(result.stats.branches.computed)[:, 1].sum()
    assert other.cached > 0


def test_without_guidance_it_says_so():
    """There is no unconditional branch to skip, and a warning says it."""
    with pytest.warns(UserWarning, match="without guidance there is no unconditional"):
        result = run("cfg_cache", EARLY)
    np.testing.assert_allclose(result.sample, run(None).sample, atol=1e-6)
    assert conditions()


@given(
    # Few of them: each compiles.
    st.sampled_from([(1, 6), (4, 9), (8, 8), (11, 10)]),
    st.floats(0, 2),
    st.floats(0, 2),
    st.integers(0, 100),
)
def test_frequencies_are_weighed(sides, low, high, seed):
    """The low part times one weight and the rest times the other; the mean is low."""
    x = np.random.default_rng(seed).normal(size=(2, *sides, 3)).astype(np.float32)
    whole, part, both = (
        np.asarray(weighted(x, *pair)) for pair in ((1, 1), (1, 0), (low, high))
    )
    np.testing.assert_allclose(whole, x, atol=1e-5)
    np.testing.assert_allclose(part.mean((1, 2)), x.mean((1, 2)), atol=1e-5)
    if min(sides) < 5:
        np.testing.assert_allclose(
            part - part.mean((1, 2), keepdims=True), 0, atol=1e-5
        )
    np.testing.assert_allclose(both, low * part + high * (x - part), atol=1e-4)


def test_weights_of_frequencies_need_pictures():
    """Tokens have none, which is told before anything is compiled."""
    config = {**EARLY, "alpha_low_frequency": 1.1}
    with pytest.raises(ValueError, match=r"height, width, channels\] arrays; .*\(2, 4"):
        run("cfg_cache", config, guided=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": 0}, "unconditional_batch_skip_range is 0; .*at least 1"),
        ({"timesteps": (1,)}, "unconditional_batch_timestep_skip_range .*2"),
        ({"timesteps": (1, np.nan)}, "unconditional_batch_timestep_skip_range"),
        ({"low": -1.0}, "alpha_low_frequency is -1.0; .*at least 0"),
        ({"high": np.inf}, "alpha_high_frequency"),
        ({"low_timesteps": (1,)}, "low_frequency_weight_update_timestep_range"),
        ({"high_timesteps": (1,)}, "high_frequency_weight_update_timestep_range"),
        ({"forecast": "offset"}, "forecast 'offset'.*there is no velocity"),
        ({"forecast": "aligned"}, "forecast 'aligned'.*first=1"),
    ],
)
def test_bad_settings(settings, message):
    """A wrong setting is an error by name."""
    with pytest.raises(ValueError, match=message):
        cfg_cache(**settings)
