"""The pipeline: caches, noise, robot units."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import get_cache_backend, sample
from jax_stepcache.backends import is_stepcache_active

from ..robots import (
    MODEL,
    PARAMS,
    observation,
    pipeline,
    prompts,
)
from .statistics import NAMES, statistics


def test_a_dynamic_cache_reuses_and_computes() -> None:
    """StepCache through the pipeline skips steps, and says which."""
    pipe = pipeline(
        cache_backend="step_cache",
        cache_config={
            "velocity_sim_thresholds": [-1.0],
            "velocity_skip_countdowns": [4],
        },
    )
    step = pipe(pipe.start(*prompts(1)), observation(1, 0))
    assert np.flatnonzero(step.stats.computed).tolist() == [0, 1, 6, 11]


def test_backends_wrap_and_unwrap_the_pipeline() -> None:
    """The registry knows the class by its name; disabled, it samples as before."""
    pipe = pipeline()
    backend = get_cache_backend("step_cache")
    backend.enable(pipe)
    assert is_stepcache_active(pipe)
    backend.refresh(pipe, 16, verbose=False)
    backend.disable(pipe)
    assert not is_stepcache_active(pipe)


def test_every_step_and_robot_has_the_same_noise_unless_told() -> None:
    """As the original, whose seed is fixed; another key gives another sample."""
    pipe = pipeline()
    text, negative = (jnp.concatenate([x] * 2) for x in prompts(1))
    session = pipe.start(text, negative)
    shown = {k: np.concatenate([x] * 2) for k, x in observation(1, 0).items()}
    step = pipe(session, shown, donate=False)
    np.testing.assert_allclose(step.video[0], step.video[1], atol=1e-6)
    other = pipe(session, shown, donate=False, key=jax.random.key(1))
    assert np.abs(step.video - other.video).max() > 1e-2


def test_actions_come_back_in_the_robots_units() -> None:
    """With statistics the state is given raw, joints are relative to it and the
    gripper is not."""
    pipe = pipeline(statistics=statistics())
    raw = {name: np.full((1, 1), 1.0, np.float32) for name in NAMES}
    shown = observation(1, 0)
    step = pipe(pipe.start(*prompts(1)), shown | {"state": raw})
    plain = pipeline()
    normalised = np.zeros_like(shown["state"])
    normalised[..., :2] = 0.5
    same = plain(plain.start(*prompts(1)), shown | {"state": normalised})
    np.testing.assert_allclose(step.action, same.action, atol=1e-6)
    real = (np.asarray(step.action) + 1) / 2 * 2.0 - 0.5
    assert same.robot_action is None
    assert step.robot_action is not None
    joints, gripper = (step.robot_action[name] for name in NAMES)
    np.testing.assert_allclose(joints, real[..., :1] + 1.0, atol=1e-6)
    np.testing.assert_allclose(gripper, real[..., 1:2], atol=1e-6)


def test_the_attention_kernel_is_chosen_where_the_pipeline_is_made() -> None:
    """The fused one needs 16-bit activations; a typo is told."""
    with pytest.raises(ValueError, match="'cudnn' needs dtype bfloat16"):
        pipeline(attention="cudnn")
    with pytest.raises(ValueError, match="Did you mean 'cudnn'"):
        pipeline(attention="cudn")
    assert pipeline(attention="xla").model.dit.attention == "xla"
    assert pipeline().model == MODEL


def test_sample_takes_a_first_control_step() -> None:
    """`sample` with an observation is the pipeline's first step with the same noise."""
    shown = MODEL.example(jax.random.key(3), 2)
    noise = {
        name: jax.random.normal(jax.random.key(4), x.shape)
        for name, x in MODEL.noise_struct(2).items()
    }
    result = sample(PARAMS, observation=shown, noise=noise)
    pipe = pipeline()
    text, negative = shown.pop("text"), shown.pop("negative_text")
    step = pipe(pipe.start(text, negative), shown, noise=noise)
    np.testing.assert_allclose(result.sample["video"], step.video, atol=1e-5)
    np.testing.assert_allclose(result.sample["action"], step.action, atol=1e-5)
    with pytest.raises(ValueError, match=r"guidance needs .*negative_text"):
        sample(PARAMS, observation={"text": text} | shown)
    with pytest.raises(ValueError, match="'text', the encoded prompt"):
        sample(PARAMS, observation=shown)
