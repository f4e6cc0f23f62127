"""Arrays of a condition that all samples share, though they have the batch's length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Request, StagedDenoiser, sample, sample_many, serve
from jax_stepcache.calibration.samples import make_samples
from jax_stepcache.network.own import FunctionModel
from jax_stepcache.network.own_rows import own_axes

ROWS, DIM = 4, 8
_draw = np.random.default_rng(5).normal
W = jnp.asarray(_draw(size=(3, DIM, DIM)) / 3, jnp.float32)
TABLE = jnp.asarray(_draw(size=(ROWS, DIM)), jnp.float32)
SCALES = np.asarray([0.2, 1.0, 3.0, 9.0], np.float32)[:, None, None]
NOISE = jnp.asarray(_draw(size=(ROWS, 3, DIM)) * SCALES, jnp.float32)
TEXT = jnp.asarray(_draw(size=(ROWS, DIM)), jnp.float32)


def _embed(w, x, t, c):
    time = 1 + t[:, None, None] / 1000
    return x * time, (c["table"], c["text"], time)


def _blocks(w, hidden, context, start, stop):
    table, text, time = context
    for i in range(start, stop):
        told = hidden @ w[i] + table.sum(0) + text[:, None]
        hidden = hidden + 0.3 * time * jnp.tanh(told)
    return hidden


def _modulated(w, hidden, context):
    """All rows are at one time here, and the time says it all: no rows."""
    return context[0][:, 0] * 0 + jnp.mean(context[2])


MODEL = StagedDenoiser(3, _embed, _blocks, lambda w, h, c: h * 0.9)
SHARED_LOOK = StagedDenoiser(3, _embed, _blocks, lambda w, h, c: h * 0.9, _modulated)
CACHES = {
    "none": {},
    "step_cache": {"velocity_sim_thresholds": (0.98, 0.9)},
    "tea_cache": {"rel_l1_thresh": 0.3, "coefficients": [0.0, 0.0, 0.0, 1.0, 0.0]},
    "cache_dit": {"residual_diff_threshold": 0.2, "max_warmup_steps": 1},
}
GUIDED = {"guidance_scale": 2.0}


def _condition(rows=slice(None), sign=1.0, table=TABLE):
    return {"table": table, "text": sign * TEXT[rows]}


def _run(cache, rows=slice(None), guided=False, table=TABLE, model=MODEL, **options):
    if guided:
        negative = _condition(rows, -1.0, table)
        options |= {"negative_condition": negative, **GUIDED}
    return sample(
        W,
        model=model,
        noise=NOISE[rows],
        condition=_condition(rows, table=table),
        cache=cache,
        cache_config=CACHES.get(cache),
        num_inference_steps=6,
        solver="euler",
        **options,
    )


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("cache", ["step_cache", "cache_dit"])
def test_a_table_as_long_as_the_batch_is_not_cut_up(cache, guided):
    """Each sample as alone, where the table cannot be taken for rows."""
    together = _run(cache, guided=guided, decide="sample")
    calls = together.stats.model_calls.tolist()
    for i in range(ROWS):
        alone = _run(cache, slice(i, i + 1), guided=guided)
        np.testing.assert_allclose(together.sample[i], alone.sample[0], atol=1e-4)
        assert calls[i] == int(alone.stats.model_calls)
    assert cache == "step_cache" or min(calls) < 6


@pytest.mark.parametrize("table", [TABLE, TABLE[:1], TABLE[:3], np.asarray(TABLE)])
def test_guidance_stacks_rows_and_leaves_the_rest(table):
    """Guidance by hand, of any length of the table."""
    rows = slice(0, 1) if len(table) == 1 else slice(None)
    given = _run(None, rows, guided=True, table=table).sample

    def by_hand(w, x, t, c):
        both = [
            MODEL(w, x, t, {"table": table, "text": sign * c["text"]})
            for sign in (1, -1)
        ]
        return both[1] + 2 * (both[0] - both[1])

    shown = {"noise": NOISE[rows], "condition": {"text": TEXT[rows]}}
    options = {"num_inference_steps": 6, "solver": "euler"}
    wanted = sample(W, model=by_hand, **shown, **options).sample
    np.testing.assert_allclose(given, wanted, atol=1e-4)


def test_a_shared_array_that_differs_between_branches():
    """There is no one value that all rows could read; the array is named."""
    with pytest.raises(ValueError, match=r"condition\['table'\] of shape \(4, 8\)"):
        sample(
            W,
            model=MODEL,
            noise=NOISE,
            condition=_condition(),
            negative_condition=_condition(table=-TABLE),
            num_inference_steps=2,
            **GUIDED,
        )


def test_arrays_that_nobody_reads_may_differ():
    """A note that goes along with the prompt is nobody's rows."""
    shown = {"condition": _condition(), "negative_condition": _condition(sign=-1.0)}
    options = {"num_inference_steps": 2, **GUIDED}
    plain = sample(W, model=MODEL, noise=NOISE, **shown, **options).sample
    notes = {
        name: x | {"note": jnp.ones(4) * i} for i, (name, x) in enumerate(shown.items())
    }
    noted = sample(W, model=MODEL, noise=NOISE, **notes, **options).sample
    np.testing.assert_array_equal(plain, noted)


@pytest.mark.parametrize(
    ("cache", "length", "guided"),
    [("step_cache", 4, True), ("step_cache", 1, False), ("cache_dit", 1, True)],
)
def test_requests_share_what_has_no_rows(cache, length, guided):
    """Also a table of one entry, which looks like the row of a request."""
    table = TABLE[:length]
    requests = [
        Request(
            noise=NOISE[i : i + 1],
            condition=_condition(slice(i, i + 1), table=table),
            negative_condition=_condition(slice(i, i + 1), -1.0, table)
            if guided
            else None,
            guidance_scale=2.0 if guided else 1.0,
        )
        for i in range(ROWS)
    ]
    results = sample_many(
        W,
        requests,
        slots=2,
        model=MODEL,
        cache=cache,
        cache_config=CACHES[cache],
        num_inference_steps=6,
        solver="euler",
    )
    for i, result in enumerate(results):
        alone = _run(cache, slice(i, i + 1), guided=guided, table=table)
        np.testing.assert_allclose(result.sample, alone.sample, atol=1e-4)


def test_requests_with_other_shared_arrays_are_refused():
    """All slots read one; a copy of it will do, another will not."""
    one = Request(noise=NOISE[:1], condition=_condition(slice(0, 1)))
    copied = Request(
        noise=NOISE[:1], condition=_condition(slice(0, 1), table=np.asarray(TABLE))
    )
    other = Request(noise=NOISE[:1], condition=_condition(slice(0, 1), table=-TABLE))
    options = {"model": MODEL, "num_inference_steps": 2}
    assert len(sample_many(W, [one, copied], **options)) == 2
    with pytest.raises(ValueError, match=r"request.*1.*condition\['table'\]"):
        sample_many(W, [one, other], **options)
    stream = serve(W, slots=1, example=one, **options)
    with pytest.raises(ValueError, match=r"condition\['table'\]"):
        stream.submit(other)


def test_a_shared_table_may_be_padded_with_nan():
    """A copy is the same one, though a NaN equals nothing; other numbers are not."""
    padded = np.concatenate([TABLE[:2], np.full((2, DIM), np.nan, np.float32)])

    def model(w, x, t, c):
        return MODEL(w, x, t, {**c, "table": jnp.nan_to_num(c["table"])})

    def request(table):
        return Request(
            noise=NOISE[:1], condition=_condition(slice(0, 1), table=table.copy())
        )

    options = {"model": model, "num_inference_steps": 2}
    results = sample_many(W, [request(padded), request(padded)], **options)
    np.testing.assert_array_equal(results[0].sample, results[1].sample)
    with pytest.raises(ValueError, match=r"request.*1.*condition\['table'\]"):
        sample_many(W, [request(padded), request(2 * padded)], **options)


@pytest.mark.parametrize("guided", [False, True])
def test_teacache_may_look_at_what_all_rows_share(guided):
    """As many entries as rows, or as branches and rows, and still not rows."""

    def run(rows, **more):
        return _run("tea_cache", rows, guided, model=SHARED_LOOK, **more)

    together = run(slice(None), decide="sample")
    for i in range(ROWS):
        alone = run(slice(i, i + 1))
        np.testing.assert_array_equal(together.stats.computed[i], alone.stats.computed)
        np.testing.assert_allclose(together.sample[i], alone.sample[0], atol=1e-4)
    batch = run(slice(None))
    np.testing.assert_array_equal(batch.stats.computed, alone.stats.computed)


KINDS = ("row", "reduced", "fixed", "number", "second", "unread")


@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    st.integers(1, 4),
    st.booleans(),
)
def test_the_network_tells_what_rows_are(kinds, batch, long):
    """Whatever the lengths, and whatever else is in the condition."""
    shapes = {
        "row": (batch, 3),
        "reduced": (batch, 3) if long else (batch + 1, 3),
        "fixed": (2, 3),
        "number": (),
        "second": (5, batch, 3),
        "unread": (batch, 7),
    }
    wanted = {"row": 0, "second": 1}

    def network(w, x, t, c):
        for kind, array in zip(kinds, c, strict=True):
            if kind == "row":
                x = x + array
            elif kind in ("reduced", "second"):
                x = x + array.sum(0)
            elif kind == "fixed":
                x = x + jnp.ones((1, 2)) @ array
            elif kind == "number":
                x = x * array
        return x

    condition = [jnp.zeros(shapes[kind]) for kind in kinds]
    found = own_axes(FunctionModel(network), (), condition, jnp.zeros((batch, 3)))
    assert found == tuple(wanted.get(kind) for kind in kinds)


@pytest.mark.parametrize("guided", [False, True])
def test_calibration_leaves_a_shared_array_whole(guided):
    """Samples that are calibrated on one by one are those of the whole batch."""
    samples = {"noise": NOISE, "condition": _condition()}
    options = {"num_inference_steps": 3}
    if guided:
        samples["negative_condition"] = _condition(sign=-1.0)
        options |= GUIDED
    made = make_samples(W, MODEL, samples, None, options)
    np.testing.assert_allclose(made.apart()[1], made.together()[1], atol=1e-4)


def _attends(w, x, t, c):
    """Every row attends to the tokens of one prompt."""
    return jnp.tanh(jax.nn.softmax(x @ w[0] @ c.T, -1) @ c) + 0.1 * x


def test_a_prompt_of_as_many_tokens_as_rows_is_not_stacked():
    """Also where it is all of the condition: the branches would read both prompts."""
    prompts = {"condition": TEXT, "negative_condition": -TEXT}
    with pytest.raises(ValueError, match=r"condition of shape \(4, 8\) as it is"):
        sample(
            W, model=_attends, noise=NOISE, num_inference_steps=2, **prompts, **GUIDED
        )


def _in_a_fixed_shape(w, x, t, c):
    return MODEL(w, x.reshape(2 * ROWS, 3, DIM), t, c)


def _in_groups(w, x, t, c):
    return MODEL(w, x.reshape(-1, ROWS, 3, DIM).reshape(x.shape), t, c)


@pytest.mark.parametrize("network", [_in_a_fixed_shape, _in_groups])
def test_networks_of_some_numbers_of_rows_are_asked_for_both_branches(network):
    """A table is not stacked because the network takes no odd number of rows."""
    shared = {"noise": NOISE, "num_inference_steps": 2, **GUIDED}
    shown = {"condition": _condition(), "negative_condition": _condition(sign=-1.0)}
    found = sample(W, model=network, **shown, **shared).sample
    wanted = sample(W, model=MODEL, **shown, **shared).sample
    np.testing.assert_allclose(found, wanted, atol=1e-5)
