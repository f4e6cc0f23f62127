"""Flax NNX modules as people write them, by the recipe of the README."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache import StagedDenoiser, sample, sample_many

DIM = 4


class Counting(nnx.Module):
    """Counts its calls in a variable of its own."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(DIM, DIM, rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, x):
        self.calls[...] += 1
        return jnp.tanh(self.linear(x))


class Dropping(nnx.Module):
    """Has dropout left on: its random stream counts."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(DIM, DIM, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)

    def __call__(self, x):
        return self.dropout(jnp.tanh(self.linear(x)))


class Normalising(nnx.Module):
    """Has batch normalisation in training mode: it writes running means."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(DIM, DIM, rngs=rngs)
        self.norm = nnx.BatchNorm(DIM, rngs=rngs)

    def __call__(self, x):
        return jnp.tanh(self.norm(self.linear(x)))


class Scanned(nnx.Module):
    """Stacks its layers and scans over them."""

    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs):
            return Counting(rngs)

        self.layers = make(rngs)

    def __call__(self, x):
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def through(x, layer):
            return layer(x)

        return through(x, self.layers)


class Rematerialised(Counting):
    """Makes its activations anew where it is differentiated."""

    def __call__(self, x):
        return nnx.remat(Counting.__call__)(self, x)


class Compiled(Counting):
    """Has a `nnx.jit` of its own inside."""

    def __call__(self, x):
        return nnx.jit(Counting.__call__)(self, x)


KINDS = [Counting, Dropping, Normalising, Scanned, Rematerialised, Compiled]
CACHES = {
    "step_cache": {},
    "cache_dit": {"residual_diff_threshold": 0.3, "max_warmup_steps": 1},
    "tea_cache": {"rel_l1_thresh": 0.3},
}
SHARED = {"num_inference_steps": 6, "solver": "euler"}
NOISE = jax.random.normal(jax.random.key(0), (2, 3, DIM))


def _model(kind):
    """The recipe: split once, merge where the network is called."""
    graph, weights = nnx.split(kind(nnx.Rngs(0)))

    def layer(weights, hidden):
        return nnx.merge(graph, weights)(hidden)

    def blocks(weights, hidden, context, start, stop):
        for _ in range(start, stop):
            hidden = hidden + 0.1 * layer(weights, hidden)
        return hidden

    model = StagedDenoiser(
        num_blocks=3,
        embed=lambda weights, x, t, c: (layer(weights, x), None),
        blocks=blocks,
        head=lambda weights, hidden, context: hidden,
        modulated=lambda weights, hidden, context: layer(weights, hidden),
    )
    return weights, model


@pytest.mark.parametrize(
    ("cache", "decide"),
    [("step_cache", "batch"), ("cache_dit", "sample"), ("tea_cache", "batch")],
)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_modules_that_write_to_themselves_are_sampled(kind, cache, decide):
    """What they write in a step is let go of: each step begins as the first one did."""
    weights, model = _model(kind)
    result = sample(
        weights,
        model=model,
        noise=NOISE,
        cache=cache,
        cache_config=CACHES[cache],
        decide=decide,
        **SHARED,
    )
    assert np.isfinite(result.sample).all()
    calls = np.asarray(result.stats.model_calls)
    assert (calls < SHARED["num_inference_steps"]).all()


@pytest.mark.parametrize("kind", [Dropping, Scanned], ids=lambda kind: kind.__name__)
def test_they_go_through_slots(kind):
    """As above, where requests take turns; alone each gets the same sample."""
    weights, model = _model(kind)
    requests = [{"noise": NOISE[i : i + 1]} for i in range(2)]
    options = {"model": model, "cache": "cache_dit", **SHARED}
    many = sample_many(weights, requests, slots=2, **options)
    assert all(np.isfinite(one.sample).all() for one in many)


def test_the_weights_are_as_before():
    """Nothing that a step wrote reaches the user's own variables."""
    weights, model = _model(Counting)
    sample(weights, model=model, noise=NOISE, **SHARED)
    assert int(jax.tree.leaves(weights["calls"])[0]) == 0


def test_a_module_that_only_reads_gives_what_its_function_gives():
    """Merging at every step costs no exactness."""
    weights, model = _model(Counting)
    kernel, bias = (jnp.asarray(weights["linear"][n][...]) for n in ("kernel", "bias"))

    def plain(_, x, t, condition):
        def layer(x):
            return jnp.tanh(x @ kernel + bias)

        hidden = layer(x)
        for _ in range(3):
            hidden = hidden + 0.1 * layer(hidden)
        return hidden

    wanted = sample((), model=plain, noise=NOISE, **SHARED).sample
    given = sample(weights, model=model, noise=NOISE, **SHARED).sample
    np.testing.assert_allclose(given, wanted, atol=1e-6)
