"""A user's own network, in the three ways one is written for JAX."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache import sample
from jax_stepcache.network.own import own_model

NOISE = jax.random.normal(jax.random.key(0), (2, 4))


class NnxNetwork(nnx.Module):
    def __init__(self, rngs):
        self.inner = nnx.Linear(5, 8, rngs=rngs)
        self.outer = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x, t):
        h = jnp.concatenate([x, t[:, None] / 1000], axis=1)
        return self.outer(jnp.tanh(self.inner(h)))


class LinenNetwork(nn.Module):
    @nn.compact
    def __call__(self, x, t):
        h = jnp.concatenate([x, t[:, None] / 1000], axis=1)
        return nn.Dense(4)(jnp.tanh(nn.Dense(8)(h)))


def nnx_model():
    graph, state = nnx.split(NnxNetwork(nnx.Rngs(0)))

    def velocity(state, x, t, condition):
        return nnx.merge(graph, state)(x, t)

    return state, velocity


def linen_model():
    network = LinenNetwork()
    variables = network.init(jax.random.key(0), NOISE, jnp.zeros(2))

    def velocity(variables, x, t, condition):
        return network.apply(variables, x, t)

    return variables, velocity


def plain_model():
    weights = jax.random.normal(jax.random.key(3), (4, 4)) / 2

    def velocity(weights, x, t, condition):
        return jnp.tanh(x @ weights + t[:, None] / 1000)

    return weights, velocity


@pytest.mark.parametrize("make", [nnx_model, linen_model, plain_model])
def test_sampled_with_a_cache(make):
    """NNX state, Linen variables or a plain array: all are just ``params``."""
    params, velocity = make()
    result = sample(
        params, model=velocity, noise=NOISE, solver="euler", cache="step_cache"
    )
    assert 2 <= result.stats.model_calls < 16
    assert np.isfinite(result.sample).all()
    assert not np.allclose(result.sample, NOISE)


def test_defaults_for_ones_own_network():
    """16 UniPC steps without shift or guidance, as the documentation says."""
    params, velocity = plain_model()
    named = sample(
        params,
        model=velocity,
        noise=NOISE,
        num_inference_steps=16,
        shift=1.0,
        solver="unipc",
        guidance_scale=1.0,
    )
    np.testing.assert_array_equal(
        sample(params, model=velocity, noise=NOISE).sample, named.sample
    )


def test_what_stages_may_offer_is_looked_at():
    """A class with stages may tell its times, and what enters it, as the bundled do."""

    class Timed:
        num_blocks = 1

        def embed(self, weights, x, t, condition):
            return x[:, None], None

        def blocks(self, weights, hidden, context, start, stop):
            return hidden

        def head(self, weights, hidden, context):
            return hidden[:, 0]

        def times(self, weights, hidden, context):
            return {"embedding": hidden[:, 0], "projection": hidden[:, 0]}

        def shown(self, sample, condition):
            return sample

    model = own_model(Timed(), NOISE)
    assert callable(model.times)
    assert callable(model.shown)
    assert getattr(model, "modulated", None) is None
    assert getattr(model, "guidance_at", None) is None
