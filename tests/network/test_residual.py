"""Networks that run whole, or add a residual that they are given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache import Residual, StagedDenoiser, sample
from tests.network.adapting import strangers
from tests.staged import NUM_STEPS, SKIPPING

GRAPH, WEIGHTS = nnx.split(strangers.WanLike(nnx.Rngs(0)))


def network(weights):
    return nnx.merge(GRAPH, weights)


def full(weights, x, t, condition):
    return network(weights)(x, t, condition, return_residual=True)


def skip(weights, x, t, condition, residual):
    return network(weights)(x, t, condition, skip_blocks=True, cached_residual=residual)


def modulated(weights, x, t, condition):
    hidden, temb = network(weights).embedded(x, t)
    scale, shift = strangers.modulation(network(weights).blocks[0].ada, temb)
    return hidden * (1 + scale) + shift


def hidden_of(weights, x, t, condition):
    return network(weights).embedded(x, t)[0]


def all_blocks(weights, hidden, context, start, stop):
    temb = network(weights).embedded(*context[:2])[1]
    for block in list(network(weights).blocks)[start:stop]:
        hidden = block(hidden, context[2], temb, True)
    return hidden


def head(weights, hidden, context):
    x, t, _ = context
    temb = network(weights).embedded(x, t)[1]
    return network(weights).proj_out(hidden + temb[:, None])


PLAIN = Residual(full=full, skip=skip)
LOOKING = Residual(full=full, skip=skip, signal=modulated)
STAGES = StagedDenoiser(
    strangers.DEPTH,
    lambda w, *given: (hidden_of(w, *given), given),
    all_blocks,
    head,
    lambda w, hidden, context: modulated(w, *context),
)


def run(model, cache, config, **more):
    return sample(
        WEIGHTS,
        model=model,
        noise=strangers.noise(),
        condition=strangers.text(),
        cache=cache,
        cache_config=config,
        num_inference_steps=NUM_STEPS,
        solver="euler",
        **more,
    )


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("model", "cache"),
    [
        (LOOKING, "tea_cache"),
        pytest.param(PLAIN, "mag_cache", marks=SLOW),
        pytest.param(PLAIN, "taylor_seer", marks=SLOW),
        pytest.param(PLAIN, "sea_cache", marks=SLOW),
        pytest.param(LOOKING, "mag_cache", marks=SLOW),
    ],
)
def test_caches_over_all_blocks_do_what_they_do_with_stages(model, cache):
    """The same steps compute, and the samples are the same."""
    found = run(model, cache, SKIPPING[cache])
    wanted = run(STAGES, cache, SKIPPING[cache])
    np.testing.assert_array_equal(found.stats.computed, wanted.stats.computed)
    np.testing.assert_allclose(found.sample, wanted.sample, atol=1e-5)
    assert not np.all(found.stats.computed)


@SLOW
def test_a_signal_of_ones_own_decides_as_the_first_block_does():
    """DBCache looks at the signal as at what its first blocks add."""

    def first(weights, x, t, condition):
        hidden = hidden_of(weights, x, t, condition)
        context = x, t, condition
        return all_blocks(weights, hidden, context, 0, 1) - hidden

    fused = Residual(full=full, skip=skip, signal=first)
    config = SKIPPING["cache_dit"]
    found, wanted = (run(m, "cache_dit", config) for m in (fused, STAGES))
    # The span is another: all blocks here, all but the first there.
    at = int(np.argmin(found.stats.computed)) + 1
    np.testing.assert_array_equal(found.stats.computed[:at], wanted.stats.computed[:at])
    np.testing.assert_allclose(
        found.stats.signal[:at], wanted.stats.signal[:at], rtol=1e-4
    )
    assert at < NUM_STEPS


@pytest.mark.parametrize("model", [PLAIN, LOOKING])
def test_stages_make_the_network(model):
    """What is skipped and what is added is the whole."""
    given = strangers.noise(), jnp.asarray([700.0, 300.0]), strangers.text()
    hidden, context = model.embed(WEIGHTS, *given)
    for i in range(model.num_blocks):
        hidden = model.blocks(WEIGHTS, hidden, context, i, i + 1)
    said = model.head(WEIGHTS, hidden, context)
    np.testing.assert_allclose(said, model(WEIGHTS, *given), atol=1e-6)


def test_bad_input():
    """What came, what is wanted, and the nearest right name."""
    with pytest.raises(TypeError, match="skip is None; it must be a function"):
        Residual(full=full, skip=None)  # pyright: ignore
    with pytest.raises(TypeError, match="Did you mean 'signal'"):
        Residual(full=full, skip=skip, signals=modulated)  # pyright: ignore
    whole = Residual(full=lambda *given: full(*given)[0], skip=skip)
    with pytest.raises(ValueError, match=r"two things, \(velocity, residual"):
        run(whole, "mag_cache", SKIPPING["mag_cache"])
    with pytest.raises(ValueError, match=r"lacks 'modulated'. Residual\(.*signal=\)"):
        run(PLAIN, "tea_cache", SKIPPING["tea_cache"])
    for cache in ("cache_dit", "first_block_cache"):
        with pytest.raises(ValueError, match=r"Residual\(full, skip, signal=\) takes"):
            run(PLAIN, cache, SKIPPING["cache_dit"])
    with pytest.raises(ValueError, match=r"skipped all or none: .*Bn_compute_blocks=0"):
        run(LOOKING, "cache_dit", {"Bn_compute_blocks": 1})
    with pytest.raises(TypeError, match=r"skip takes .*, t, condition, residual\)"):
        Residual(full=full, skip=full)
    empty = Residual(full=lambda *x: (full(*x)[0], None), skip=skip)
    with pytest.raises(ValueError, match="full returned None for the residual"):
        run(empty, "taylor_seer", {"cache_interval": 3})
    given = {"cache": "taylor_seer", "cache_config": {"cache_interval": 3}}
    given |= {"model": PLAIN, "noise": jnp.ones((2, 4, 5))}
    with pytest.raises(ValueError, match=r"full failed .* sample of array \[2, 4, 5\]"):
        sample(WEIGHTS, **given, condition=strangers.text())
    module = strangers.WanLike(nnx.Rngs(0))
    with pytest.raises(ValueError, match="a module that holds them"):
        sample(module, **(given | {"noise": strangers.noise()}))
    pooled = Residual(full=lambda *x: (full(*x)[0], jnp.ones(3)), skip=skip)
    with pytest.raises(ValueError, match="with 2 rows; got float32"):
        run(pooled, "mag_cache", SKIPPING["mag_cache"])


def test_what_stands_before_the_blocks_is_all_that_is_computed_twice():
    """Products in the compiled program: none besides, and none that nobody reads."""
    given = strangers.noise(), jnp.asarray([700.0, 300.0]), strangers.text()
    hidden = hidden_of(WEIGHTS, *given)

    def products(function, *args):
        compiled = jax.jit(function).lower(WEIGHTS, hidden, given, *args).compile()
        return compiled.as_text().count(" dot(")

    def after_all(weights, hidden, context):
        return head(weights, hidden + hidden_of(weights, *context), context)

    before = products(lambda w, h, g: network(w).embedded(*g[:2]))
    time = products(lambda w, h, g: network(w).embedded(*g[:2])[1])
    assert products(PLAIN.head) == products(after_all) == before + 1
    # By hand a block reads the time alone, and the tokens are there.
    ours = products(lambda *x: PLAIN.blocks(*x, 0, 1))
    assert (
        ours == products(lambda *x: all_blocks(*x, 0, strangers.DEPTH)) + before - time
    )
    assert before > time
