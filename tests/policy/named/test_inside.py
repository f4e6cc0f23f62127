"""The policies of caches inside the network, and the masks some of them follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    TEACACHE_COEFFICIENTS,
    Span,
    View,
    db_cache,
    first_block_cache,
    mag_cache,
    restarting,
    sea_cache,
    steps_mask,
    taylor_seer,
    tea_cache,
)
from jax_stepcache.policy.named.mag_cache import resampled_ratios
from jax_stepcache.policy.view import Inside

RATIOS = [1.0, 0.9, 1.1]


@given(st.integers(8, 90), st.sampled_from(["slow", "medium", "fast", "ultra"]))
def test_masks_begin_and_end_with_a_run(num_steps, policy):
    """Any step count has a mask: it starts by computing, ends so, and skips some."""
    mask = steps_mask(num_steps, policy)
    assert mask.dtype == bool
    assert mask.shape == (num_steps,)
    assert mask[0]
    assert mask[-1]
    assert not mask.all()


@given(st.integers(8, 90))
def test_masks_skip_more_from_slow_to_ultra(num_steps):
    """The four policies are in the order of how much they skip."""
    policies = ("slow", "medium", "fast", "ultra")
    computed = [steps_mask(num_steps, policy).sum() for policy in policies]
    assert computed == sorted(computed, reverse=True)
    assert computed[0] > computed[-1]


def test_masks_of_bins():
    """Runs of steps that compute, and of steps between them; the last one computes."""
    mask = steps_mask(8, compute_bins=[2, 1], cache_bins=[3, 2])
    assert mask.astype(int).tolist() == [1, 1, 0, 0, 0, 1, 0, 1]
    longer = steps_mask(4, compute_bins=[2, 5], cache_bins=[1])
    assert longer.astype(int).tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "fats"}, r"unknown scm_steps_mask_policy 'fats'.*'fast'"),
        ({}, "by a policy, or by compute bins and cache bins"),
        ({"compute_bins": [3]}, "by a policy, or by compute bins and cache bins"),
        ({"policy": "fast", "compute_bins": [8], "cache_bins": [1]}, "by a policy, or"),
        ({"compute_bins": [3, 1], "cache_bins": [2]}, "cover 6 steps of 9"),
        ({"compute_bins": [30], "cache_bins": [-2]}, "scm_cache_bins is -2"),
        ({"compute_bins": [3], "cache_bins": []}, "cover 3 steps of 9"),
    ],
)
def test_masks_that_cannot_be_made(arguments, message):
    """One way to make a mask, and one that covers the steps."""
    with pytest.raises(ValueError, match=message):
        steps_mask(9, **arguments)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 7])
def test_short_masks_have_no_policy(num_steps):
    """Below eight steps there are masks of 4 and of 6."""
    with pytest.raises(ValueError, match="masks of 4, 6, and 8 or more"):
        steps_mask(num_steps, "fast")


@pytest.mark.parametrize(
    ("make", "span", "leaves"),
    [
        (tea_cache, Span(), 2),
        (db_cache, Span(first=1), 6),
        (lambda: db_cache(first_blocks=2, last_blocks=3), Span(2, 3), 6),
        (lambda: db_cache(steps_mask=[1, 0, 1]), Span(first=1), 7),
        (
            lambda: db_cache(steps_mask=[1, 0, 1], steps_policy="static"),
            Span(first=1),
            1,
        ),
        (lambda: mag_cache(RATIOS), Span(), 4),
        (sea_cache, Span(), 3),
        (first_block_cache, Span(first=1), 2),
        (lambda: taylor_seer(8), Span(), 1),
        (lambda: restarting(db_cache(), 5), Span(first=1), 7),
    ],
)
def test_policies_are_pytrees_of_their_numbers(make, span, leaves):
    """Their numbers are leaves, the span is structure."""
    policy = make()
    assert policy.span == span
    assert len(jax.tree.leaves(policy)) == leaves
    again = jax.tree.map(lambda x: jnp.asarray(x) * 1, policy)
    assert jax.tree.structure(again) == jax.tree.structure(make())


def test_structures_differ_by_what_is_compiled():
    """Other thresholds are the same program; another span or forecast is another."""
    structure = jax.tree.structure
    assert structure(db_cache(0.1)) == structure(db_cache(1.0, max_cached_steps=3))
    assert structure(tea_cache(0.1)) == structure(tea_cache(0.2, [1.0] * 5))
    assert structure(db_cache()) != structure(db_cache(first_blocks=2))
    assert structure(sea_cache()) != structure(sea_cache(forecast="hold"))
    assert structure(restarting(db_cache(), 3)) == structure(restarting(db_cache(), 4))
    assert structure(restarting(db_cache(), 3)) != structure(
        restarting(db_cache(), 3, repeat=True)
    )


@pytest.mark.parametrize("threshold", [1.0, 1.5])
def test_a_threshold_of_one_reuses_without_looking(threshold):
    """DBCache compares nothing from 1 on, and nothing positive is no cap."""
    gate = db_cache(threshold, max_accumulated=0.0).gate
    assert np.isposinf(gate.gate.gate.gate.threshold)
    assert np.isposinf(gate.gate.gate.gate.max_total)
    assert db_cache(0.9).gate.gate.gate.gate.threshold == np.float32(0.9)


def test_a_mask_shortens_the_warm_up():
    """Warm-up ends with the mask's leading ones, if that is sooner."""
    mask = [1, 1, 0, 1, 1]
    assert db_cache(warmup_steps=4, steps_mask=mask).gate.steps == 2
    assert db_cache(warmup_steps=1, steps_mask=mask).gate.steps == 1
    assert db_cache(warmup_steps=4, steps_mask=[1] * 5).gate.steps == 4


def test_taylor_seers_schedule():
    """The first steps, every so many from the second skipped one on, and the end."""
    mask = taylor_seer(16).gate.mask
    assert np.flatnonzero(mask).tolist() == [0, 1, 2, 4, 9, 14]
    late = taylor_seer(10, 3, 2, disable_cache_after_step=8).gate.mask
    assert np.flatnonzero(late).tolist() == [0, 1, 3, 6, 8, 9]


def test_restarting_counts_branches():
    """Each guidance branch is a forward: under guidance a hint of 5 is step 3."""

    def begins(branches, repeat):
        policy = restarting(db_cache(), 5, repeat)
        inside = Inside(jnp.ones((1, 1, 1)), jnp.ones((1, 1, 1)), None, 0.0, branches)
        view = View(jnp.int32(0), jnp.float32(1), jnp.ones((1, 1)), inside)
        local = [
            policy._local(view._replace(step=jnp.int32(i))).step for i in range(11)
        ]
        return [i for i, step in enumerate(local) if step == 0]

    assert begins(1, False) == [0, 5]
    assert begins(1, True) == [0, 5, 10]
    assert begins(2, False) == [0, 3]
    assert begins(2, True) == [0, 3, 6, 9]


def test_resampled_ratios():
    """A curve of another step count gives each step its nearest; its own stays."""
    np.testing.assert_array_equal(resampled_ratios(RATIOS, 3), np.float32(RATIOS))
    assert resampled_ratios([1, 2, 3, 4], 2).tolist() == [1, 4]
    assert resampled_ratios([1, 2], 4).tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tea_cache(0.0), "rel_l1_thresh is 0.0; it must be above 0"),
        (lambda: tea_cache(-1), "rel_l1_thresh is -1; it must be above 0"),
        (lambda: tea_cache(np.nan), "rel_l1_thresh is nan; it must be finite"),
        (lambda: tea_cache(0.1, [1, 0]), r"coefficients is \[1, 0\]; .* a row of 5"),
        (lambda: tea_cache(0.1, [1, 2, 3, 4, np.inf]), "coefficients .* be finite"),
        (lambda: db_cache("a"), "residual_diff_threshold is 'a'; it must be numeric"),
        (lambda: db_cache(np.nan), "residual_diff_threshold is nan"),
        (lambda: db_cache(warmup_steps=-1), "max_warmup_steps is -1"),
        (lambda: db_cache(warmup_interval=0), "warmup_interval is 0; .* at least 1"),
        (lambda: db_cache(max_cached_steps=-2), "max_cached_steps is -2; .*least -1"),
        (lambda: db_cache(max_continuous_cached_steps=1.5), "continuous.* is 1.5"),
        (lambda: db_cache(max_accumulated=np.nan), "max_accumulated_residual_diff"),
        (lambda: db_cache(steps_mask=[0, 1]), "skips step 0"),
        (lambda: db_cache(steps_policy="statc"), "scm_steps_policy 'statc'.*'static'"),
        (lambda: db_cache(first_blocks=-1), "Fn_compute_blocks is -1"),
        (lambda: db_cache(first_blocks=0), r"first=1 or more \(Fn_compute_blocks\)"),
        (lambda: mag_cache([]), "mag_ratios is .*; it must be a row of numbers"),
        (lambda: mag_cache([1.0, -1.0]), "mag_ratios .* above 0"),
        (lambda: mag_cache(RATIOS, np.nan), "mag_threshold is nan"),
        (lambda: mag_cache(RATIOS, 0.1, 0), "mag_max_skip_steps is 0; .* at least 1"),
        (lambda: mag_cache(RATIOS, 0.1, 1, 1.5), "retention_ratio is 1.5; .*most 1"),
        (lambda: sea_cache(np.inf), "sea_threshold is inf; it must be finite"),
        (lambda: sea_cache(power_exp=0.0), "sea_power_exp is 0.0; .* above 0"),
        (lambda: sea_cache(max_consecutive_cached=-1), "sea_max_consec.* is -1"),
        (lambda: first_block_cache([1]), r"threshold is \[1\]; it must be a number"),
        (lambda: taylor_seer(8, 0), "cache_interval is 0; .* at least 1"),
        (lambda: taylor_seer(8, 5, 0), "disable_cache_before_step is 0"),
        (lambda: taylor_seer(8, 5, 3, 2), "disable_cache_after_step is 2; .*least 3"),
        (lambda: taylor_seer(8, max_order=-1), "max_order is -1"),
        (lambda: restarting(db_cache(), 0), "force_refresh_step_hint is 0; .*least 1"),
    ],
)
def test_settings_that_cannot_work(make, message):
    """Each is an error that names the setting, what was given and what is allowed."""
    with pytest.raises(ValueError, match=message):
        make()


def test_traced_numbers_are_taken_as_they_are():
    """Inside `jit` thresholds, polynomials and curves may be arrays being traced."""

    @jax.jit
    def build(number, row):
        return (
            tea_cache(number, row),
            db_cache(number, max_accumulated=number),
            mag_cache(row, number),
            sea_cache(number),
            first_block_cache(number),
        )

    tea, *others = build(jnp.float32(0.5), jnp.ones(5))
    assert tea.gate.threshold == 0.5
    assert len(others) == 4
    mapped = jax.vmap(db_cache)(jnp.array([0.1, 2.0]))
    assert mapped.gate.gate.gate.gate.threshold.tolist() == [np.float32(0.1), np.inf]


def test_fitted_polynomials():
    """Five finite numbers each, those of the TeaCache paper's repository."""
    for name, coefficients in TEACACHE_COEFFICIENTS.items():
        tea_cache(0.1, coefficients)
        assert len(coefficients) == 5, name
    assert TEACACHE_COEFFICIENTS["flux"][0] == 498.651651
    assert TEACACHE_COEFFICIENTS["qwen-image"] == (-450, 280, -45, 3.2, -0.02)
