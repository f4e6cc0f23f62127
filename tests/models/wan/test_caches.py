"""Caches by name on Wan's releases: what each finds, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from jax_stepcache import Switching, flow_schedule, get_cache_backend
from jax_stepcache.models.wan import RELEASES, WanModel
from jax_stepcache.policy.asked import asked_of
from jax_stepcache.solvers.strength import begun_at

from .small import LATENT, ONE, TWO

SMALL_1_3B = WanModel(replace(ONE, name="wan2.1-t2v-1.3b"), LATENT)
SMALL_A14B = WanModel(replace(TWO, name="wan2.2-t2v-a14b"), LATENT)


def _policy(cache: str, model: WanModel, steps: int = 20, **settings: Any) -> Any:
    backend = get_cache_backend(cache, settings)
    assert backend is not None
    return backend.policy(model, steps)


def test_tea_cache_has_the_published_polynomial() -> None:
    """Without settings it is the authors', in either variant; or vLLM-Omni's."""
    plain = _policy("tea_cache", SMALL_1_3B)
    assert plain.signal.looks_at == "times"
    assert plain.gate.gate.gate.coefficients[0] == pytest.approx(2396.76752)
    retained = _policy("tea_cache", SMALL_1_3B, use_ret_steps=True)
    assert retained.signal.projected
    assert retained.gate.gate.coefficients[0] == pytest.approx(-52186.2437)
    omni = _policy("tea_cache", SMALL_1_3B, original=False)
    assert omni.signal.looks_at == "modulated"


def test_mag_cache_has_the_published_ratios() -> None:
    """diffusers' takes the conditional branch's; of two experts, both count on."""
    assert _policy("mag_cache", SMALL_1_3B).gate.ratios.shape == (20,)
    both = _policy("mag_cache", SMALL_A14B, mag_split_step=8)
    assert both.gate.mask.shape == (2, 20)
    with pytest.raises(ValueError, match="give mag_split_step"):
        _policy("mag_cache", SMALL_A14B)


def test_each_expert_has_settings_of_its_own() -> None:
    """Over those that both have; only a model with two takes them."""
    settings = {"max_warmup_steps": 2, "low": {"residual_diff_threshold": 0.5}}
    policy = _policy("cache_dit", SMALL_A14B, **settings)
    assert isinstance(policy, Switching)
    assert policy.sigma == pytest.approx(TWO.boundary_ratio)
    assert policy.above.gate.steps == policy.below.gate.steps == 2
    with pytest.raises(ValueError, match="one network"):
        _policy("cache_dit", SMALL_1_3B, **settings)
    with pytest.raises(ValueError, match="residual_diff_threshold"):
        _policy("cache_dit", SMALL_A14B, high={"residual_diff_treshold": 0.5})


def test_whole_forwards_know_no_expert() -> None:
    """StepCache looks at the guided velocity, across the switch."""
    policy = _policy("step_cache", SMALL_A14B)
    assert policy.span is None
    assert not isinstance(policy, Switching)
    assert RELEASES["wan2.2-t2v-a14b"].experts == ("high", "low")


def test_each_expert_has_a_polynomial_of_its_own() -> None:
    """In the original TeaCache, too."""
    high, low = [1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0]
    each = {"high": {"coefficients": high}, "low": {"coefficients": low}}
    policy = _policy("tea_cache", SMALL_A14B, original=True, **each)
    assert isinstance(policy, Switching)
    for one, wanted in ((policy.above, high), (policy.below, low)):
        assert one.gate.gate.gate.coefficients.tolist() == wanted
    other = _policy("tea_cache", SMALL_A14B, original=True, low={"use_ret_steps": True})
    assert jax.tree.structure(other.above) != jax.tree.structure(other.below)


def test_whole_forwards_by_expert() -> None:
    """With settings for one expert, each has a StepCache of its own; what has one mask
    or one table for all steps says so."""
    settings = {"low": {"velocity_sim_thresholds": (0.9, 0.8)}}
    policy = _policy("step_cache", SMALL_A14B, **settings)
    assert isinstance(policy, Switching)
    assert policy.below.gate.thresholds.tolist() == pytest.approx([0.9, 0.8])
    assert policy.above.gate.thresholds.tolist() == pytest.approx([0.95, 0.93])
    with pytest.raises(ValueError, match="one network"):
        _policy("step_cache", SMALL_1_3B, **settings)
    for cache, own in (
        ("static", {"steps_mask": [True] * 20}),
        ("tuned", {"budget": 4}),
        ("bespoke", {"budget": 4}),
    ):
        with pytest.raises(ValueError, match=f"'{cache}' takes no settings for 'high'"):
            _policy(cache, SMALL_A14B, **own, high={"forecast": "hold"})


def test_the_schedule_tells_how_many_steps_are_the_first_expert_s() -> None:
    """`sample` sets mag_split_step, of what is left of the schedule, too."""
    schedule = flow_schedule(20, 5.0)
    own = sum(t >= 1000 * TWO.boundary_ratio for t in schedule.timesteps)
    backend = get_cache_backend("mag_cache", {})
    assert backend is not None
    for part in (schedule, begun_at(schedule, 0.9), begun_at(schedule, 0.1)):
        split = max(own - (20 - part.num_steps), 0)
        wanted = _policy("mag_cache", SMALL_A14B, part.num_steps, mag_split_step=split)
        found: Any = backend.policy_of_steps(SMALL_A14B, part)
        np.testing.assert_array_equal(found.gate.mask, wanted.gate.mask)
    whole: Any = backend.policy_of_steps(SMALL_1_3B, schedule)
    assert whole.gate.ratios.shape == (20,)


def test_experts_that_share_a_state_take_no_settings_of_their_own() -> None:
    """The original MagCache counts through; what would be without effect is told."""
    with pytest.raises(ValueError, match="share one state"):
        _policy("mag_cache", SMALL_A14B, mag_split_step=8, low={"mag_threshold": 0.05})
    with pytest.raises(ValueError, match="give it beside 'high' and 'low'"):
        _policy("mag_cache", SMALL_A14B, original=False, high={"original": True})


def test_what_can_never_reuse_is_told_of_two_experts() -> None:
    """As of one: a threshold of 0 leaves nothing to either."""
    never = _policy("first_block_cache", SMALL_A14B, threshold=0.0)
    assert "threshold" in (asked_of(never, 20).never or "")
    one = _policy("first_block_cache", SMALL_A14B, high={"threshold": 0.0})
    assert asked_of(one, 20).never is None
