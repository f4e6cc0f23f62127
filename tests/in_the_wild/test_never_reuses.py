"""A cache that can skip nothing is refused or warned of, and a summary says why."""

import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    Pipeline,
    StagedDenoiser,
    compose,
    db_cache,
    sample,
    sample_many,
    summary,
)
from jax_stepcache.options import Options, resolve
from jax_stepcache.policy.asked import Asked, asked_of
from jax_stepcache.policy.gates import LastStep, Mask, MaxSkips, WarmUp
from jax_stepcache.policy.named import (
    Uncached,
    mag_cache,
    restarting,
    static_schedule,
    taylor_seer,
)

from ..staged import NUM_STEPS, RATIOS, UNROLLED, WEIGHTS, conditions, noise, options

ALL = [True] * NUM_STEPS
# Settings with which the original computes every step of eight, and what is said.
NEVER = {
    "a threshold of 0": (
        "cache_dit",
        {"residual_diff_threshold": 0.0},
        "no change is below a threshold of 0",
    ),
    "a spectrum's threshold of 0": (
        "sea_cache",
        {"sea_threshold": 0.0},
        "no change is below a threshold of 0",
    ),
    "a first block that must not change": (
        "first_block_cache",
        {"threshold": 0.0},
        "only what does not change at all is reused",
    ),
    "a cosine above 1": (
        "step_cache",
        {"velocity_sim_thresholds": [1.0], "velocity_skip_countdowns": [2]},
        r"no cosine is above 1 \(velocity_sim_thresholds\)",
    ),
    "a history as long as the run": (
        "step_cache",
        {"step_cache_dit_min_history": 8, "step_cache_dit_max_history": 8},
        "the first 8 make the history",
    ),
    "a warm-up as long as the run": (
        "cache_dit",
        {"max_warmup_steps": 8},
        r"the warm-up takes the first 8 \(max_warmup_steps\)",
    ),
    "a warm-up as long as what is refreshed": (
        "cache_dit",
        {
            "max_warmup_steps": 4,
            "force_refresh_step_hint": 4,
            "force_refresh_step_policy": "repeat",
        },
        r"the warm-up takes the first 4 \(max_warmup_steps\)",
    ),
    "no skip in a row": (
        "cache_dit",
        {"max_continuous_cached_steps": 0},
        "max_continuous_cached_steps; -1 is no cap",
    ),
    "no skip in all": (
        "cache_dit",
        {"max_cached_steps": 0},
        "max_cached_steps; -1 is no cap",
    ),
    "a mask of DBCache's": ("cache_dit", {"steps_mask": ALL}, "a mask runs 8 of them"),
    "a mask that is static": (
        "cache_dit",
        {"steps_mask": ALL, "scm_steps_policy": "static"},
        "the schedule runs all of them",
    ),
    "a mask": ("static", {"steps_mask": ALL}, "the schedule runs all of them"),
    "an interval of 1": (
        "taylor_seer",
        {"cache_interval": 1},
        "the schedule runs all of them .*cache_interval",
    ),
    "no step before": (
        "taylor_seer",
        {"disable_cache_before_step": 8},
        "the schedule runs all of them",
    ),
    "ratios far from 1": (
        "mag_cache",
        {"mag_ratios": RATIOS, "mag_threshold": 0.04},
        "ratios are 0.05 or more from 1, and mag_threshold is 0.04",
    ),
    "all retained": (
        "mag_cache",
        {"mag_ratios": RATIOS, "mag_retention_ratio": 1.0},
        "the first 8 are retained",
    ),
}


def _checked(cache, config, **others):
    """What `sample` makes of it before anything is compiled."""
    given = {**options(), "model": UNROLLED, **others}
    return resolve(WEIGHTS, Options(cache=cache, cache_config=config, **given))


@pytest.mark.parametrize("what", NEVER)
def test_settings_that_never_reuse_are_warned_of(what):
    """Where the original allows it: one warning at the caller's line, with why."""
    cache, config, why = NEVER[what]
    with pytest.warns(UserWarning, match=f"{cache}.* no step of 8: .*{why}") as said:
        generation = _checked(cache, config)
    assert [one.filename for one in said] == [__file__]
    assert generation.asked.never is not None


@pytest.mark.parametrize(
    ("cache", "steps"),
    [("step_cache", 2), ("sea_cache", 2), ("cache_dit", 4), ("tea_cache", 1)],
)
def test_runs_that_are_too_short_are_warned_of(cache, steps):
    """The defaults skip nothing in few steps, as of distilled models."""
    with pytest.warns(UserWarning, match=f"no step of {steps}: "):
        _checked(cache, None, num_inference_steps=steps)


@pytest.mark.parametrize(
    ("cache", "config"),
    [
        ("first_block_cache", {"threshold": -1}),
        ("cache_dit", {"residual_diff_threshold": -0.1}),
        ("sea_cache", {"sea_threshold": -1e-9}),
        ("mag_cache", {"mag_threshold": -0.1, "mag_ratios": RATIOS}),
        ("mag_cache", {"mag_max_skip_steps": 0, "mag_ratios": RATIOS}),
        ("tea_cache", {"rel_l1_thresh": 0.0}),
        ("tea_cache", {"rel_l1_thresh": -0.1}),
    ],
)
def test_thresholds_that_no_change_is_below_are_refused(cache, config):
    """By name and value; the original gives none of these a meaning."""
    name, given = next(iter(config.items()))
    with pytest.raises(ValueError, match=rf"{name} is {given}; it must be a"):
        _checked(cache, config)


@pytest.mark.parametrize(
    ("cache", "config"),
    [
        (None, None),
        ("step_cache", {"step_cache_dit_enabled": False}),
        ("mag_cache", {"mag_calibrate": True}),
        ("cache_dit", {"residual_diff_threshold": 1e-9}),
        ("cache_dit", {"max_warmup_steps": 7}),
        ("cache_dit", {"max_warmup_steps": 8, "warmup_interval": 2}),
        ("cache_dit", {"max_warmup_steps": 9, "steps_mask": [1, 0] * 4}),
        ("taylor_seer", {"disable_cache_before_step": 7}),
        ("mag_cache", {"mag_ratios": RATIOS, "mag_threshold": 0.06}),
        ("mag_cache", {"mag_ratios": [1.0] * 8, "mag_threshold": 0.0}),
    ],
)
def test_what_is_meant_or_may_reuse_is_quiet(cache, config):
    """No cache, one that is switched off, one that measures, and all that may skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _checked(cache, config)


@given(
    mask=st.lists(st.booleans(), min_size=1, max_size=6),
    warmup=st.integers(0, 7),
    interval=st.integers(1, 3),
    skips=st.integers(-1, 1),
    last=st.booleans(),
)
def test_what_is_certain_is_what_the_gate_does(mask, warmup, interval, skips, last):
    """A gate of one's own that runs every step of a mask is found out, and no other."""
    mask[0] = True
    gate = MaxSkips(WarmUp(Mask(np.array(mask)), warmup, interval), skips)
    gate = LastStep(gate) if last else gate
    state, ran = gate.init(len(mask)), []
    for step in range(len(mask)):
        verdict = gate.decide(state, jnp.int32(step), jnp.float32(jnp.nan))
        ran.append(bool(verdict.run))
        state = gate.record(verdict.state) if verdict.run else verdict.state
    asked = asked_of(compose(gate=gate), len(mask))
    assert (asked.never is not None) == all(ran)


@pytest.mark.parametrize("branches", [1, 2])
def test_restarts_count_forwards(branches):
    """A hint counts each guidance branch, so guided periods are half as long."""
    policy = restarting(db_cache(warmup_steps=3), 6, repeat=True)
    assert (asked_of(policy, 12, branches).never is not None) == (branches == 2)
    once = restarting(db_cache(warmup_steps=3), 6)
    assert asked_of(once, 12, branches).never is None


def test_numbers_that_are_traced_are_not_looked_at():
    """What is not known before it runs is not warned of."""

    def asked(threshold, mask, ratios):
        policies = db_cache(threshold), static_schedule(mask), mag_cache(ratios, 0.0)
        assert all(asked_of(policy, 8).never is None for policy in policies)
        return threshold

    jax.eval_shape(asked, 0.0, jnp.ones(8, bool), 2 * jnp.ones(8))
    assert asked_of(Uncached(), 4) == Asked()
    assert not asked_of(Uncached(), 4).cache


def _small_thresholds():
    return {
        "tea_cache": {"rel_l1_thresh": 1e-6},
        "step_cache": {
            "velocity_sim_thresholds": [0.9999],
            "velocity_skip_countdowns": [2],
        },
    }


@pytest.mark.parametrize("cache", _small_thresholds())
@pytest.mark.parametrize("decide", ["batch", "sample", "many"])
def test_a_run_that_skipped_nothing_says_why(cache, decide):
    """The nearest that the signal came to the threshold, in one line of the summary."""
    config = _small_thresholds()[cache]
    shared = {"model": UNROLLED, "cache": cache, "cache_config": config}
    if decide == "many":
        own = {"noise": noise(1), "condition": conditions(1)[0]}
        steps = {"num_inference_steps": NUM_STEPS}
        (result,) = sample_many(WEIGHTS, [own], **shared, **steps)
    else:
        result = sample(WEIGHTS, **shared, **options(), decide=decide)
        if decide == "sample":
            result = jax.tree.map(lambda x: x[0], result)
    way = (
        "smallest signal, .* is not below" if cache == "tea_cache" else "largest .*not"
    )
    (line,) = [x for x in str(summary(result)).splitlines() if "nothing skipped" in x]
    assert "█" * NUM_STEPS in line
    (row,) = summary(result).rows
    assert row.unused is not None
    assert row.unused in line
    assert row.unused in repr(result.stats)
    assert row.unused in summary(result)._repr_html_()
    signal, threshold = result.stats.signal, result.stats.threshold
    nearest = np.nanargmin(np.abs(np.asarray(signal) - np.asarray(threshold)))
    assert f"{float(signal[nearest]):.3g} at step {nearest}" in row.unused
    assert re.search(way, row.unused)


def test_a_run_that_could_not_skip_says_why():
    """What was warned of is in the summary, too; of requests, each has its own."""
    own = {"noise": noise(1), "condition": conditions(1)[0]}
    config = {"max_warmup_steps": 4, "residual_diff_threshold": 0.9}
    with pytest.warns(UserWarning, match="no step of 4"):
        few, many = sample_many(
            WEIGHTS,
            [{**own, "num_inference_steps": steps} for steps in (4, 8)],
            model=UNROLLED,
            cache="cache_dit",
            cache_config=config,
        )
    assert "the warm-up takes the first 4" in str(summary(few))
    assert many.stats.model_calls < 8
    assert "nothing skipped" not in str(summary(many))


def test_no_cache_needs_no_reason():
    """Who asked for none is not told that nothing was skipped."""
    result = sample(WEIGHTS, model=UNROLLED, **options())
    assert "nothing skipped" not in str(summary(result))
    assert "skipped" not in repr(result.stats)


def test_results_with_other_remarks_fit_each_other():
    """The remark is no data: trees of results can be stacked, whatever was asked."""
    plain = sample(WEIGHTS, model=UNROLLED, **options())
    with pytest.warns(UserWarning, match="no step of 8"):
        cached = sample(WEIGHTS, model=UNROLLED, cache=taylor_seer(8, 1), **options())
    assert jax.tree.structure(plain) == jax.tree.structure(cached)
    both = jax.tree.map(lambda *x: jnp.stack(x), plain, cached)
    assert both.stats.computed.shape == (2, NUM_STEPS)


def _still(amount):
    """A network whose first block adds that much of nothing."""

    def blocks(weights, hidden, context, start, stop):
        for block in range(start, stop):
            hidden = hidden + (amount if block == 0 else 0.1 * jnp.tanh(hidden))
        return hidden

    return StagedDenoiser(
        3,
        lambda w, x, t, c: (x, None),
        blocks,
        lambda w, h, c: h,
    )


STILL, NOT_A_NUMBER = _still(0.0), _still(jnp.nan)


def test_a_first_block_that_adds_nothing_has_not_changed():
    """0/0: FirstBlockCache's rule reuses, as with diffusers; DBCache's computes."""
    given = {"model": STILL, "noise": noise(), "num_inference_steps": 6}
    reused = sample((), cache="first_block_cache", **given)
    assert reused.stats.computed.tolist() == [True] + [False] * 5
    assert reused.stats.signal[1:].tolist() == [0.0] * 5
    config = {"max_warmup_steps": 1}
    computed = sample((), cache="cache_dit", cache_config=config, **given)
    assert np.asarray(computed.stats.computed).all()
    assert "0/0 where they add nothing" in str(summary(computed))


def test_a_first_block_that_is_not_a_number_computes():
    """diffusers' rule reuses at a NaN: a fault that is not copied."""
    given = {"model": NOT_A_NUMBER, "noise": noise(), "num_inference_steps": 4}
    result = sample((), cache="first_block_cache", **given)
    assert np.asarray(result.stats.computed).all()
    assert result.stats.nonfinite


def test_a_pipeline_warns_at_its_callers_line():
    """Not at a line of this library."""
    pipeline = Pipeline(WEIGHTS, model=UNROLLED, cache_backend="cache_dit")
    with pytest.warns(UserWarning, match="cache='cache_dit' .*no step of 4") as said:
        pipeline(**options() | {"num_inference_steps": 4})
    assert said[0].filename == __file__


def test_ratios_that_are_too_few_are_warned_of_at_the_callers_line():
    """The older warning, too."""
    with pytest.warns(UserWarning, match="mag_ratios has 4 ratios for 8") as said:
        _checked("mag_cache", {"mag_ratios": RATIOS[:4]})
    assert said[0].filename == __file__
