"""A network that keeps its Euler loop to itself is taken out of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache import adapt, explicit_schedule, sample
from tests.jaxprs import primitives
from tests.network.adapting import strangers
from tests.network.adapting.adapted import case, pi0_observation

PI0 = strangers.Pi0Like(nnx.Rngs(0))
LAYERS = {"blocks": lambda n: n.PaliGemma.llm.layers}
WEIGHTS, MODEL = adapt(
    PI0, sampler=lambda n, x, seen: n.sample_actions(None, seen, noise=x), **LAYERS
)
SCHEDULE = explicit_schedule(np.linspace(1, 0, 11), timesteps="sigma")
NOISE = strangers.noise()


def condition():
    return jax.jit(MODEL.condition)(WEIGHTS, NOISE, pi0_observation())


def run(weights, model, condition, **more):
    return sample(
        weights,
        model=model,
        noise=NOISE,
        condition=condition,
        solver="euler",
        **more,
    )


def test_without_a_cache_it_is_the_sampler():
    """Ten even steps are what the network's own loop does."""
    found = run(WEIGHTS, MODEL, condition(), schedule=SCHEDULE)
    wanted = PI0.sample_actions(None, pi0_observation(), noise=NOISE)
    np.testing.assert_allclose(found.sample, wanted, atol=1e-5)


@pytest.mark.slow
def test_a_step_is_the_one_that_a_user_writes():
    """The body's equations and no others; the same stages, cache and sample."""
    weights, model, given = case("linen scan")
    own = primitives(model, weights, NOISE, jnp.ones(2), given)
    made = condition()
    found = primitives(MODEL, WEIGHTS, NOISE, jnp.ones(2), made)
    for name in ("dot_general", "tanh", "logistic", "scan", "while"):
        assert found[name] == own[name], name
    config = {"residual_diff_threshold": 0.3, "max_warmup_steps": 2}
    cached = {"cache": "cache_dit", "cache_config": config}
    found = run(WEIGHTS, MODEL, made, schedule=SCHEDULE, **cached)
    levels = explicit_schedule(np.linspace(1, 0, 11))
    wanted = run(weights, model, given, schedule=levels, **cached)
    np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
    np.testing.assert_allclose(found.sample, wanted.sample, atol=1e-5)
    assert not np.all(found.stats.computed)


class Loops(nnx.Module):
    """A network in a loop of some kind."""

    def __init__(self, step, begins=1.0):
        self.block = nnx.Linear(3, 3, rngs=nnx.Rngs(0))
        self.step, self.begins = step, begins

    def __call__(self, x):
        def body(carry):
            return self.step(self.block, *carry)

        return jax.lax.while_loop(lambda c: c[1] > 0.05, body, (x, self.begins))[0]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda f, x, t: (f(x), t - 0.1), "does not go on by adding"),
        (lambda f, x, t: (x + f(x) * f(x), t - 0.1), "no step that is a number times"),
        (lambda f, x, t: (x + 0.1 * f(x * t), t - 0.1), "uses time otherwise"),
    ],
)
def test_other_loops_are_told_of(step, words):
    """What does not come apart, in words, and what to give in its place."""
    weights, model = adapt(
        Loops(step), sampler=lambda n, x, seen: n(x), blocks=lambda n: [n.block]
    )
    with pytest.raises(ValueError, match=words):
        run(weights, model, model.condition(weights, NOISE, ()))


def test_bad_input():
    """No loop at all, both ways at once, and conditions of another kind."""
    with pytest.raises(TypeError, match="two ways to say the same"):
        adapt(PI0, sampler=len, call=len, **LAYERS)  # pyright: ignore
    plain = adapt(PI0, sampler=lambda n, x, seen: x, **LAYERS)[1]
    with pytest.raises(ValueError, match="has no loop that carries"):
        plain.condition(WEIGHTS, NOISE, pi0_observation())
    with pytest.raises(TypeError, match=r"it is model\.condition"):
        run(WEIGHTS, MODEL, NOISE)
    few = MODEL.condition(
        WEIGHTS, NOISE[:1], jax.tree.map(lambda x: x[:1], pi0_observation())
    )
    with pytest.raises(ValueError, match="made for 1 rows"):
        run(WEIGHTS, MODEL, few)
    weights, model, _ = case("linen scan")
    with pytest.raises(TypeError, match="only with sampler="):
        model.condition(weights, NOISE, pi0_observation())
