import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    DIFFUSION_CACHE_BACKEND,
    Pipeline,
    StaticBackend,
    StepCacheBackend,
    sample,
)

from .networks import constant, counted_steps
from .small_model import small_noise, small_params

OLDER_VARIABLE = "DIFFUSION_CACHE_ADAPTER"
NOISE = jnp.ones((1, 2))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv(DIFFUSION_CACHE_BACKEND, raising=False)
    monkeypatch.delenv(OLDER_VARIABLE, raising=False)


def calls(pipeline, **options):
    """Model calls of a generation of 16 steps."""
    options = {"schedule": counted_steps(), "solver": "euler"} | options
    return int(pipeline(noise=NOISE, **options).stats.model_calls)


def make(**options):
    return Pipeline(jnp.float32(1), model=constant, **options)


def test_one_line_enables_a_cache():
    """A backend's name and settings at construction; `sample` with them otherwise."""
    pipeline = make(cache_backend="step_cache")
    assert pipeline.cache_backend.is_enabled()
    assert calls(pipeline) == 4
    config = {"velocity_skip_countdowns": [1, 1]}
    assert calls(make(cache_backend="step_cache", cache_config=config)) == 9


def test_without_a_backend_nothing_is_cached():
    """No name and no environment: every step runs."""
    pipeline = make()
    assert pipeline.cache_backend is None
    assert calls(pipeline) == 16


def test_a_backend_may_be_an_object():
    """A backend made beforehand is enabled as it is."""
    backend = StaticBackend({"num_dit_steps": 6})
    pipeline = make(cache_backend=backend)
    assert pipeline.cache_backend is backend
    assert calls(pipeline) == 6


def test_the_surface_of_vllm_omni():
    """``enable``, ``refresh``, call, ``disable``, as the original is used."""
    pipeline, backend = make(), StepCacheBackend()
    assert not backend.is_enabled()
    backend.enable(pipeline)
    assert backend.is_enabled()
    backend.refresh(pipeline, num_inference_steps=16)
    assert calls(pipeline) == 4
    backend.refresh(pipeline, 16, verbose=False)
    backend.disable(pipeline)
    assert not backend.is_enabled()
    assert calls(pipeline) == 16


def test_a_forgotten_refresh_leaks_nothing():
    """Generations follow each other without a refresh, and all are the same."""
    pipeline = make(cache_backend="step_cache")
    results = [pipeline(noise=NOISE, num_inference_steps=11) for _ in range(2)]
    computed = [r.stats.computed.tolist() for r in results]
    assert computed[0] == computed[1]
    assert sum(computed[0]) == 3
    np.testing.assert_array_equal(results[0].sample, results[1].sample)


@pytest.mark.parametrize("name", ["step_cache", "STEP_CACHE", "stepcache"])
@pytest.mark.parametrize("variable", [DIFFUSION_CACHE_BACKEND, OLDER_VARIABLE])
def test_the_environment_names_the_default(monkeypatch, variable, name):
    """Either variable, in any case, where the call names no backend."""
    monkeypatch.setenv(variable, name)
    assert isinstance(make().cache_backend, StepCacheBackend)


def test_the_newer_variable_and_the_call_come_first(monkeypatch):
    """The call beats the environment, and the newer variable the older."""
    monkeypatch.setenv(OLDER_VARIABLE, "static")
    monkeypatch.setenv(DIFFUSION_CACHE_BACKEND, "none")
    assert make().cache_backend is None
    monkeypatch.setenv(DIFFUSION_CACHE_BACKEND, "step_cache")
    assert make(cache_backend="none").cache_backend is None
    static = make(cache_backend="static", cache_config={"num_dit_steps": 5})
    assert isinstance(static.cache_backend, StaticBackend)


def test_an_unknown_name_in_the_environment(monkeypatch):
    """A typo in the environment is the same error as in the call."""
    monkeypatch.setenv(DIFFUSION_CACHE_BACKEND, "step_cach")
    with pytest.raises(ValueError, match=r"'step_cach'.*mean 'step_cache'"):
        make()


def test_params_bring_their_model():
    """With bundled params a pipeline takes an observation and nothing else."""
    params = small_params()
    pipeline = Pipeline(params, cache_backend="step_cache")
    observation = {"text": jnp.full((1, 4), 0.3)}
    result = pipeline(observation, noise=small_noise())
    same = sample(
        params, observation=observation, noise=small_noise(), cache="step_cache"
    )
    np.testing.assert_array_equal(result.sample["video"], same.sample["video"])
    assert 2 <= result.stats.model_calls < 16


def test_a_pipeline_needs_a_model():
    """Weights alone do not say what to run."""
    with pytest.raises(TypeError, match="pass model="):
        Pipeline({"w": NOISE})
