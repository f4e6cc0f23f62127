"""Gradients through the sampler, in both modes and of whatever it is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import sample, sample_many

from ..jaxprs import primitives
from ..staged import SKIPPING, UNROLLED, WEIGHTS, options

CACHES = {None: None, "step_cache": None, **SKIPPING}


def _reward(moved, cache=None, decide="batch", guided=True, **others):
    """A number of a run in which one argument, or the weights, was replaced."""
    given = {**options(guided), "num_inference_steps": 5}
    weights = moved.pop("weights", WEIGHTS)
    config = SKIPPING.get(cache)
    if cache == "mag_cache":
        config = {"mag_ratios": [1.0, 0.9, 1.1, 0.95, 1.05]}
    result = sample(
        weights,
        model=UNROLLED,
        cache=cache,
        cache_config=config,
        decide=decide,
        **given | moved | others,
    )
    return jnp.square(result.sample).sum()


@pytest.mark.parametrize("decide", ["batch", "sample"])
@pytest.mark.parametrize("cache", [None, "step_cache", "cache_dit"])
def test_reverse_mode_gives_what_forward_mode_gives(cache, decide):
    """`jax.grad` works, and agrees with `jax.jvp`; values are the loop's."""
    rng = np.random.default_rng(0)
    start = options()["noise"]
    along = jnp.asarray(rng.normal(size=start.shape), jnp.float32)

    def reward(noise):
        return _reward({"noise": noise}, cache, decide)

    value, slope = jax.jit(lambda n: jax.jvp(reward, (n,), (along,)))(start)
    found, gradient = jax.jit(jax.value_and_grad(reward))(start)
    np.testing.assert_allclose(found, value, rtol=1e-5)
    np.testing.assert_allclose((gradient * along).sum(), slope, rtol=1e-3)
    np.testing.assert_allclose(found, reward(start), rtol=1e-5)


@pytest.mark.parametrize("what", ["weights", "condition", "guidance_scale"])
def test_whatever_is_given_has_a_gradient(what):
    """Weights, conditions and the guidance scale; what does not move is left alone."""
    start = {
        "weights": WEIGHTS,
        "condition": options(True)["condition"],
        "guidance_scale": jnp.float32(2),
    }[what]
    gradient = jax.grad(lambda x: _reward({what: x}, "tea_cache"))(start)
    along = jax.tree.map(jnp.ones_like, start)
    _, slope = jax.jvp(lambda x: _reward({what: x}, "tea_cache"), (start,), (along,))
    total = sum(jnp.sum(x) for x in jax.tree.leaves(gradient))
    np.testing.assert_allclose(total, slope, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("cache", [cache for cache in CACHES if cache])
def test_every_cache_lets_a_gradient_through(cache):
    """Finite, and not zero."""
    start = options()["noise"]
    gradient = jax.grad(lambda noise: _reward({"noise": noise}, cache))(start)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize(
    ("cache", "decide"), [("cache_dit", "batch"), ("step_cache", "sample")]
)
def test_steps_that_are_taken_again_have_the_same_gradient(cache, decide):
    """With `differentiable` the way back keeps less, and says the same."""
    start = options()["noise"]
    given, wanted = (
        jax.jit(
            jax.grad(
                lambda noise, keeps=keeps: _reward(
                    {"noise": noise}, cache, decide, differentiable=not keeps
                )
            )
        )(start)
        for keeps in (False, True)
    )
    np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)


def test_the_way_back_keeps_less():
    """Memory grows with the steps' samples, and not with what the network computes."""

    def wide(weights, x, t, condition):
        del condition
        hidden = jnp.tanh(x @ weights + t[:, None] / 1000)
        return jnp.tanh(hidden) @ weights.T

    weights, noise = jnp.ones((4, 4096)) / 64, jnp.ones((8, 4))

    def size(**given):
        def reward(noise):
            return sample(weights, model=wide, noise=noise, **given).sample.sum()

        compiled = jax.jit(jax.grad(reward)).lower(noise).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert 4 * size(differentiable=True) < size()


def test_the_program_without_a_gradient_is_the_loop_alone():
    """One `while_loop` and no scan: derivatives cost nothing where none are asked."""
    start = options()["noise"]
    found = primitives(lambda noise: _reward({"noise": noise}, guided=False), start)
    assert found["while"] == 1
    assert found["scan"] == 0


@pytest.mark.slow
def test_where_there_is_no_gradient_it_is_said():
    """A bar, and requests in slots, have none: in the library's words, not in JAX's."""
    start = options()["noise"]

    def reward(noise, **others):
        return _reward({"noise": noise}, **others)

    for derivative in (jax.grad, lambda f: jax.grad(jax.jit(f)), jax.jacfwd):
        with pytest.raises(ValueError, match="leave out progress"):
            derivative(lambda noise: reward(noise, progress=_silent))(start)
    with pytest.raises(ValueError, match="with differentiable=True"):
        reward(start, progress=_silent, differentiable=True)
    with pytest.raises(ValueError, match="differentiable is 'yes'"):
        reward(start, differentiable="yes")
    request = [{"noise": start[:1]}]
    with pytest.raises(ValueError, match="puts requests into slots"):
        sample_many(WEIGHTS, request, model=UNROLLED, differentiable=True)
    with pytest.raises(TypeError, match="puts requests into slots"):
        jax.grad(
            lambda noise: sample_many(WEIGHTS, [{"noise": noise}], model=UNROLLED)[
                0
            ].sample.sum()
        )(start[:1])


def _silent(step, computed, *, num_steps):
    """A progress that shows nothing."""
