"""What a robot asks of its step is checked once a kind, and so many are remembered."""

from __future__ import annotations

import pytest

from jax_stepcache import load_params
from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.dreamzero.control import quality
from jax_stepcache.models.dreamzero.control.quality import Quality


@pytest.fixture(scope="module")
def asking():
    pipeline = DreamZeroPipeline(load_params("tabletop"), cache_backend="step_cache")
    return Quality(pipeline)


def _cache(asking, first, **rest):
    config = {"velocity_skip_countdowns": [first, 2]}
    return asking.asked({"cache_config": config, **rest})["cache"]


def test_the_same_is_checked_once(asking):
    """Whoever asks again gets the same backend; other numbers or steps another."""
    once = _cache(asking, 5)
    assert _cache(asking, 5) is once
    assert once.config.velocity_skip_countdowns == [5, 2]
    assert _cache(asking, 6) is not once
    assert _cache(asking, 5, num_inference_steps=8) is not once


@pytest.mark.parametrize("scale", [1e39, -1e39, float("inf")])
def test_a_scale_is_finite_where_it_is_computed_with(asking, scale):
    """In float32, beyond which it would be infinite."""
    with pytest.raises(ValueError, match="guidance_scale is"):
        asking.asked({"guidance_scale": scale})


def test_what_is_refused_is_refused_again(asking):
    """What is remembered is what was taken."""
    asked = {"cache_config": {"velocity_skip_countdowns": [5, 2, 1]}}
    for _ in range(2):
        with pytest.raises(ValueError, match="velocity_skip_countdowns"):
            asking.asked(asked)


def test_so_many_are_remembered(asking):
    """Robots that ask for ever other numbers fill no memory."""
    for first in range(1, 2 * quality._REMEMBERED):
        _cache(asking, first)
    assert len(asking._checked) <= quality._REMEMBERED
