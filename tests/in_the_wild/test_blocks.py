"""Other people's blocks and conditions: dtypes that change, shapes that do, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import StagedDenoiser, sample, sample_many

from ..staged import COMPUTING, SKIPPING

STEPS, BLOCKS, DIM = 8, 3, 4
SHARED = {"num_inference_steps": STEPS, "solver": "euler"}
NOISE = jax.random.normal(jax.random.key(0), (2, 5, DIM))
WEIGHTS = jax.random.normal(jax.random.key(1), (DIM, DIM)) / 2


def _step(weights, hidden, time):
    return hidden + 0.3 * jnp.tanh(hidden @ weights + time)


def _network(block=_step, tokens=jnp.float32, blocks=None, embed=None, **more):
    """Three blocks, each as given; the head takes tokens of any dtype."""

    def default_embed(weights, x, t, condition):
        return x.astype(tokens), t[:, None, None] / 1000

    def all_blocks(weights, hidden, time, start, stop):
        for _ in range(start, stop):
            hidden = block(weights, hidden, time)
        return hidden

    return StagedDenoiser(
        BLOCKS,
        embed or default_embed,
        blocks or all_blocks,
        more.get("head", lambda weights, hidden, time: hidden),
        more.get("modulated", lambda weights, hidden, time: hidden + time),
    )


def _demoting(weights, hidden, time):
    return _step(weights, hidden, time).astype(jnp.bfloat16)


PROMOTING = _network(tokens=jnp.bfloat16)
DEMOTING = _network(_demoting)
HALVES = _network(tokens=jnp.float16)
TYPED = {"bfloat16 promoted": PROMOTING, "bfloat16 results": DEMOTING, "f16": HALVES}


@pytest.mark.parametrize(
    ("kind", "cache", "decide"),
    [
        ("bfloat16 promoted", "tea_cache", "batch"),
        ("bfloat16 promoted", "cache_dit", "sample"),
        ("bfloat16 promoted", "taylor_seer", "batch"),
        ("bfloat16 promoted", "mag_cache", "batch"),
        ("bfloat16 results", "sea_cache", "batch"),
        ("bfloat16 results", "first_block_cache", "batch"),
        ("bfloat16 results", "tea_cache", "sample"),
        ("f16", "cache_dit", "batch"),
    ],
)
def test_blocks_may_change_the_dtype_of_their_tokens(kind, cache, decide):
    """Skipping nothing, a cache gives what there is without it; and it skips.

    Neither tokens nor results are rounded to the dtype of the other.
    """
    options = {"model": TYPED[kind], "noise": NOISE, **SHARED}
    uncached = sample(WEIGHTS, **options).sample
    options |= {"cache": cache, "decide": decide}
    computing = sample(WEIGHTS, cache_config=COMPUTING[cache], **options)
    np.testing.assert_allclose(computing.sample, uncached, atol=1e-6)
    skipping = sample(WEIGHTS, cache_config=SKIPPING[cache], **options)
    assert (np.asarray(skipping.stats.model_calls) < STEPS).all()
    assert 0 < np.abs(skipping.sample - uncached).max() < 1


def _casting(weights, hidden, time):
    return _step(weights, hidden.astype(jnp.float32), time)


@pytest.mark.parametrize("cache", ["tea_cache", "cache_dit", "taylor_seer"])
def test_blocks_that_cast_run_under_strict_promotion(cache):
    """What enters and leaves is compared by the library, and not by promotion."""

    def modulated(weights, hidden, time):
        return hidden.astype(jnp.float32) + time

    network = _network(_casting, tokens=jnp.bfloat16, modulated=modulated)
    options = {"model": network, "noise": NOISE, "cache": cache, **SHARED}
    options["cache_config"] = SKIPPING[cache]
    with jax.numpy_dtype_promotion("strict"):
        strict = sample(WEIGHTS, **options)
    usual = sample(WEIGHTS, **options)
    np.testing.assert_array_equal(strict.sample, usual.sample)
    assert 0 < strict.stats.model_calls < STEPS


def test_a_tree_of_tokens_may_change_some_of_its_dtypes():
    """As above, where one of two streams is promoted and the other is not."""

    def embed(weights, x, t, condition):
        return {"a": x.astype(jnp.bfloat16), "b": x}, t[:, None, None] / 1000

    def block(weights, hidden, time):
        return jax.tree.map(lambda h: _step(weights, h, time), hidden)

    model = _network(
        block,
        embed=embed,
        head=lambda weights, hidden, time: hidden["a"] - hidden["b"] / 2,
        modulated=lambda weights, hidden, time: hidden["b"] + time,
    )
    options = {"model": model, "noise": NOISE, "cache": "cache_dit", **SHARED}
    uncached = sample(WEIGHTS, **{**options, "cache": None}).sample
    given = sample(WEIGHTS, cache_config=COMPUTING["cache_dit"], **options).sample
    np.testing.assert_allclose(given, uncached, atol=1e-6)


def test_what_is_promoted_is_predicted_in_full():
    """A residual that never changes is added again as it was, not rounded."""
    model = _network(
        lambda weights, hidden, time: hidden + jnp.float32(1 / 3), tokens=jnp.bfloat16
    )
    options = {"model": model, "noise": jnp.ones((1, 2, DIM)), **SHARED}
    uncached = sample(WEIGHTS, **options).sample
    cached = sample(
        WEIGHTS, cache="taylor_seer", cache_config={"cache_interval": 4}, **options
    )
    assert cached.stats.model_calls < STEPS
    np.testing.assert_allclose(cached.sample, uncached, atol=1e-6)


def _drop(weights, hidden, context, start, stop):
    return hidden[:, : max(1, hidden.shape[1] - (stop - start))]


def _pool(weights, hidden, context, start, stop):
    return hidden.mean(1, keepdims=True)


CHANGED = {
    "drops": (
        _drop,
        r"returned float32\[\d, \d, 4\] for hidden, which was float32\[\d, 5",
    ),
    "pools": (
        _pool,
        r"returned float32\[\d, 1, 4\] for hidden, which was float32\[\d, 5",
    ),
    "widens": (lambda w, h, c, a, b: jnp.concatenate([h, h], -1), r"\[\d, 5, 8\]"),
    "flattens": (lambda w, h, c, a, b: h.reshape(-1, DIM), r"\[(5|10), 4\]"),
    "tuple": (lambda w, h, c, a, b: (h,), "returned a tuple"),
    "auxiliary": (lambda w, h, c, a, b: (h, h.mean()), "returned a tuple"),
    "dict": (lambda w, h, c, a, b: {"sample": h}, "returned a dict"),
    "nothing": (lambda w, h, c, a, b: None, "returned a NoneType"),
    "number": (lambda w, h, c, a, b: 0.0, "returned a float for hidden"),
}


@pytest.mark.parametrize("decide", ["batch", "sample"])
@pytest.mark.parametrize("cache", ["tea_cache", "cache_dit"])
@pytest.mark.parametrize("kind", CHANGED)
def test_blocks_that_change_their_tokens_are_named(kind, cache, decide):
    """Which blocks, what they returned and what they were given; nothing broadcasts."""
    blocks, said = CHANGED[kind]
    model = _network(blocks=blocks, head=lambda w, h, c: jnp.zeros((2, 5, DIM)))
    # DBCache runs the first block, TeaCache all of them.
    which = r"blocks\(weights, hidden, context, 0, [13]\) .*"
    with pytest.raises(ValueError, match=which + said):
        sample(WEIGHTS, model=model, noise=NOISE, cache=cache, decide=decide, **SHARED)


def test_blocks_behind_the_span_may_pool():
    """Nobody but the head looks at what they return."""

    def blocks(weights, hidden, time, start, stop):
        for block in range(start, stop):
            hidden = _step(weights, hidden, time)
            if block == BLOCKS - 1:
                hidden = hidden.mean(1, keepdims=True)
        return hidden

    def head(weights, hidden, time):
        return jnp.broadcast_to(hidden, NOISE.shape)

    options = {"model": _network(blocks=blocks, head=head), "noise": NOISE, **SHARED}
    config = {**COMPUTING["cache_dit"], "Bn_compute_blocks": 1}
    given = sample(WEIGHTS, cache="cache_dit", cache_config=config, **options)
    np.testing.assert_allclose(
        given.sample, sample(WEIGHTS, **options).sample, atol=1e-6
    )


HIDDEN = {
    "mask": (lambda x: (x, x[..., 0] > 0), r"hidden\[1\] as bool\[2, 5\]"),
    "key": (lambda x: (x, jax.random.key(0)), r"hidden\[1\] as key<fry>\[\]"),
    "name": (lambda x: (x, "self"), r"hidden\[1\] as a str"),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_cannot_be_added_is_no_hidden_state(kind):
    """Masks and the like among what blocks work on are named, with where they go."""
    hidden, said = HIDDEN[kind]
    model = _network(
        embed=lambda w, x, t, c: (hidden(x), None), blocks=lambda w, h, c, a, b: h
    )
    with pytest.raises(ValueError, match=f"embed returned {said}.*context"):
        sample(WEIGHTS, model=model, noise=NOISE, cache="cache_dit", **SHARED)


def test_a_complex_velocity_is_refused():
    """It would lose its imaginary part with a warning in the middle of a trace."""

    def network(weights, x, t, condition):
        return jnp.fft.fft(x)

    with pytest.raises(ValueError, match=r"complex64.*imaginary"):
        sample(WEIGHTS, model=network, noise=NOISE, **SHARED)


def _draw(keys):
    return jax.vmap(lambda key: jax.random.normal(key, (5, 1)))(keys)


KEYS = jax.random.split(jax.random.key(1), 4)
PROMPTS = {
    "mask": (np.arange(20).reshape(4, 5) % 3 > 0, lambda c: jnp.where(c, 1.0, 0.0)),
    "keys": (KEYS, lambda c: _draw(c)[..., 0]),
    "old keys": (jax.random.key_data(KEYS), lambda c: _draw(c)[..., 0]),
    "complex": (np.exp(1j * np.arange(20).reshape(4, 5)), lambda c: c.real - c.imag),
    "bytes": (np.arange(20, dtype=np.uint8).reshape(4, 5), lambda c: c / 20.0),
}


def _told(rows, at=slice(None)):
    """Both branches; the first two rows are the conditional ones."""
    positive, negative = rows[:2][at], rows[2:][at]
    return {"condition": {"x": positive}, "negative_condition": {"x": negative}}


def _floats(rows, read):
    return jnp.concatenate([read(rows[i : i + 1]) for i in range(4)])


@pytest.mark.parametrize("kind", PROMPTS)
def test_guided_conditions_may_hold_more_than_numbers(kind):
    """The sample is that of the network that is told the floats they stand for."""
    rows, read = PROMPTS[kind]

    def through(read):
        return lambda weights, x, t, c: _step(weights, x, read(c["x"])[..., None])

    options = {"noise": NOISE, "guidance_scale": 2.0, "cache": "step_cache", **SHARED}
    given = sample(WEIGHTS, model=through(read), **options, **_told(rows))
    floats = _told(_floats(rows, read))
    wanted = sample(WEIGHTS, model=through(lambda c: c), **options, **floats)
    np.testing.assert_allclose(given.sample, wanted.sample, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mask", "keys"])
def test_they_go_through_slots(kind):
    """As above, where samples decide each for itself and their rows are picked."""
    rows, read = PROMPTS[kind]
    model = _network(
        lambda w, hidden, context: _step(w, hidden, read(context[1])[..., None]),
        embed=lambda weights, x, t, c: (x, (t, c["x"])),
        modulated=None,
    )
    options = {"model": model, "cache": "cache_dit", "guidance_scale": 2.0, **SHARED}
    options["cache_config"] = SKIPPING["cache_dit"]
    both = sample(WEIGHTS, noise=NOISE, decide="sample", **options, **_told(rows))
    requests = [
        {"noise": NOISE[i : i + 1], **_told(rows, slice(i, i + 1))} for i in (0, 1)
    ]
    for i, one in enumerate(sample_many(WEIGHTS, requests, **options)):
        alone = sample(WEIGHTS, **requests[i], **options)
        np.testing.assert_allclose(one.sample, alone.sample, atol=1e-5)
        np.testing.assert_allclose(both.sample[i], alone.sample[0], atol=1e-5)


@pytest.mark.parametrize(
    ("negative", "word"),
    [
        (np.ones((2, 5), np.int32), "dtype int32; the model takes bool"),
        (KEYS[:2], r"shape \(2,\)"),
        (np.ones((2, 5), np.complex64), "dtype complex64; the model takes bool"),
    ],
)
def test_both_branches_are_of_one_kind(negative, word):
    """A mask in one branch is not stacked on numbers in the other."""

    def network(weights, x, t, condition):
        return x

    with pytest.raises(ValueError, match=word):
        sample(
            WEIGHTS,
            model=network,
            noise=NOISE,
            condition=np.ones((2, 5), bool),
            negative_condition=negative,
            guidance_scale=2.0,
            **SHARED,
        )


EMBEDDED = {
    "one": (lambda x, t: x, r"embed returned array \[2, 5, 4\]"),
    "three": (lambda x, t: (x, t, t), r"embed returned \(array \[2, 5, 4\], array"),
    "nothing": (lambda x, t: None, "embed returned None"),
}


@pytest.mark.parametrize("cache", [None, "cache_dit"])
@pytest.mark.parametrize("kind", EMBEDDED)
def test_embed_returns_two_things(kind, cache):
    """An array of two rows, alone, is not taken apart into tokens and context."""
    embedded, said = EMBEDDED[kind]
    model = _network(embed=lambda w, x, t, c: embedded(x, t))
    with pytest.raises(ValueError, match=said + r".*\(hidden, context\)"):
        sample(WEIGHTS, model=model, noise=NOISE, cache=cache, **SHARED)


@pytest.mark.parametrize("decide", ["batch", "sample"])
@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda w, hidden, c: (hidden, c), "a tuple"),
        (lambda w, hidden, c: hidden.mean(), r"float32\[\]"),
        (lambda w, hidden, c: None, "a NoneType"),
    ],
)
def test_what_modulated_returns_is_named(returned, said, decide):
    """Not what JAX says of a tuple or a mean from inside of a signal."""
    model = _network(modulated=returned)
    options = {"model": model, "noise": NOISE, "cache": "tea_cache", **SHARED}
    with pytest.raises(ValueError, match=f"modulated returned {said}; it must"):
        sample(WEIGHTS, decide=decide, **options)


@pytest.mark.parametrize("how", ["guided", "sample"])
def test_what_rows_share_is_no_hidden_state(how):
    """Positions beside the tokens are named where rows are picked from them."""
    model = _network(
        lambda w, hidden, time: (_step(w, hidden[0], time), hidden[1]),
        embed=lambda w, x, t, c: ((x, jnp.arange(5)), t[:, None, None] / 1000),
        head=lambda w, hidden, time: hidden[0],
        modulated=None,
    )
    options = {"model": model, "noise": NOISE, "cache": "cache_dit", **SHARED}
    if how == "guided":
        options |= {"condition": NOISE, "negative_condition": NOISE}
        options["guidance_scale"] = 2.0
    decide = "batch" if how == "guided" else "sample"
    with pytest.raises(ValueError, match=r"embed (returned|gave).*hidden.*context"):
        sample(WEIGHTS, decide=decide, **options)


@pytest.mark.parametrize("count", [0, 2.5, "3", None])
def test_a_number_of_blocks_is_one(count):
    """Before anything is traced."""

    def stage(*given):
        raise AssertionError("the network was traced")

    model = StagedDenoiser(count, stage, stage, stage)
    with pytest.raises(ValueError, match="num_blocks"):
        sample(WEIGHTS, model=model, noise=NOISE, cache="cache_dit", **SHARED)


def test_noise_of_eight_bits_is_refused():
    """By name, for no solver can add in it."""
    noise = jnp.ones((1, 4), jnp.float8_e4m3fn)
    with pytest.raises(ValueError, match=r"noise has dtype float8_e4m3fn; .* 16 bits"):
        sample(WEIGHTS, model=lambda w, x, t, c: x, noise=noise, **SHARED)
