import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    DiffusionCacheConfig,
    Pipeline,
    StepCacheBackend,
    StepCacheConfig,
    StepCacheState,
    backends,
)

from ..networks import constant
from ..plain_step_cache import plain_cosine, plain_step_cache

VELOCITY = jnp.ones((1, 3))


@functools.partial(jax.jit, static_argnums=1)
def walk(velocities, config=None):
    """A state stepped by hand in a compiled loop: its decisions, and where it ends."""

    def step(state, velocity):
        run, state = state.should_run_step(config)
        state = jax.lax.cond(run, lambda s: s.append(velocity), lambda s: s, state)
        return state, run

    start = StepCacheState.init(velocities[0], config)
    state, decisions = jax.lax.scan(step, start, velocities)
    return decisions, state


def test_config_from_the_settings_of_all_backends():
    """StepCache's settings under vLLM-Omni's two sets of names."""
    config = DiffusionCacheConfig(
        step_cache_dit_enabled=False,
        velocity_sim_thresholds=[0.9],
        velocity_skip_countdowns=[3],
        step_cache_dit_min_history=3,
        step_cache_dit_max_history=5,
    )
    expected = StepCacheConfig(
        enabled=False,
        min_history_steps=3,
        max_history=5,
        sim_thresholds=[0.9],
        skip_countdowns=[3],
    )
    assert StepCacheConfig.from_diffusion_cache_config(config) == expected
    default = StepCacheConfig.from_diffusion_cache_config(DiffusionCacheConfig())
    assert default == StepCacheConfig()
    with pytest.raises(ValueError, match="tiers must fall"):
        StepCacheConfig(sim_thresholds=(0.1, 0.2))


def test_state_by_hand():
    """Equal velocities: runs 0, 1, 6, 11, as in the compiled loop."""
    decisions, state = walk(jnp.ones((16, 1, 3)))
    assert np.flatnonzero(decisions).tolist() == [0, 1, 6, 11]
    assert state.history_length == 2
    assert state.skip_countdown == 1


def test_reset_starts_a_generation_afresh():
    """After a reset the state is as it was before the first step."""
    _, state = walk(jnp.ones((9, 1, 3)))
    assert state.skip_countdown != 0
    clean = state.reset()
    for leaf, fresh in zip(
        jax.tree.leaves(clean),
        jax.tree.leaves(StepCacheState.init(VELOCITY)),
        strict=True,
    ):
        np.testing.assert_array_equal(leaf, fresh)


def test_history_is_bounded():
    """The state keeps as many velocities as configured, and can be trimmed."""
    config = StepCacheConfig(min_history_steps=2, max_history=4)
    state = StepCacheState.init(VELOCITY, config)
    for i in range(6):
        state = state.append(VELOCITY * i)
    assert len(state.history) == state.history_length == 4
    assert [float(v[0, 0]) for v in state.history] == [2, 3, 4, 5]
    trimmed = state.trim_history(2)
    assert len(trimmed.history) == trimmed.history_length == 2
    assert [float(v[0, 0]) for v in trimmed.history] == [4, 5]
    np.testing.assert_allclose(trimmed.similarity(), 1, rtol=1e-6)


def test_disabled_always_runs():
    """Switched off, every step runs and the state stays as it is."""
    decisions, _ = walk(jnp.ones((6, 1, 3)), StepCacheConfig(enabled=False))
    assert decisions.tolist() == [True] * 6


@given(
    seed=st.integers(0, 10_000),
    batch=st.integers(1, 2),
    wobble=st.floats(0.05, 0.6),
)
def test_state_follows_the_rule(seed, batch, wobble):
    """On random velocities it decides as the plain rule does."""
    rng = np.random.default_rng(seed)
    steady = rng.standard_normal((1, batch, 8))
    noise = wobble * rng.standard_normal((20, batch, 8))
    velocities = (steady + noise).astype(np.float32)

    def cosine(step, ran):
        return plain_cosine(velocities[ran[-2]], velocities[ran[-1]])

    rule = plain_step_cache(20, cosine)
    decisions, _ = walk(jnp.asarray(velocities))
    assert decisions.tolist() == [step.computed for step in rule]


def test_what_a_pipeline_says_about_its_cache():
    """Whether StepCache is on, with which settings, and the state it starts from."""
    pipeline = Pipeline((), model=constant, cache_backend="none")
    assert not backends.is_stepcache_active(pipeline)
    assert backends.get_stepcache_config(pipeline) is None
    assert backends.get_stepcache_state(pipeline, VELOCITY) is None
    assert not backends.is_stepcache_active(object())

    StepCacheBackend({"step_cache_dit_max_history": 3}).enable(pipeline)
    assert backends.is_stepcache_active(pipeline)
    assert backends.get_stepcache_config(pipeline).max_history == 3
    assert len(backends.get_stepcache_state(pipeline, VELOCITY).history) == 3

    off = Pipeline((), model=constant, cache_backend="none")
    StepCacheBackend({"step_cache_dit_enabled": False}).enable(off)
    assert not backends.is_stepcache_active(off)


def test_older_names():
    """vLLM-Omni's earlier names are the same objects."""
    assert backends.StepCacheDiTBackend is backends.StepCacheBackend
    assert backends.StepCacheDiTConfig is backends.StepCacheConfig
    assert backends.StepCacheDiTState is backends.StepCacheState
    enablers = backends.CUSTOM_STEPCACHE_ENABLERS
    assert backends.CUSTOM_STEP_CACHE_DIT_ENABLERS is enablers
    enable = backends.enable_dreamzero_stepcache
    assert backends.enable_dreamzero_step_cache_dit is enable
    assert enablers["DreamZeroPipeline"] is enable
