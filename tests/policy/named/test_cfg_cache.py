"""CFG-Cache apart from the recorded runs: its arithmetic, and what it needs."""

import numpy as np
import pytest

from jax_stepcache import Every, cfg_cache, compose, summary

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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": 0}, "unconditional_batch_skip_range is 0; .*at least 1"),
        ({"timesteps": (1,)}, "unconditional_batch_timestep_skip_range .*2"),
        ({"timesteps": (1, np.nan)}, "unconditional_batch_timestep_skip_range"),
        ({"forecast": "offset"}, "forecast 'offset'.*there is no velocity"),
        ({"forecast": "aligned"}, "forecast 'aligned'.*first=1"),
    ],
)
def test_bad_settings(settings, message):
    """A wrong setting is an error by name."""
    with pytest.raises(ValueError, match=message):
        cfg_cache(**settings)
