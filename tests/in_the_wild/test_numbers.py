"""Numbers and keys as people hand them in, and as they should not be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jax_stepcache
from jax_stepcache import Linear, Request, explicit_schedule, sample, sample_many

NOISE = jax.random.normal(jax.random.key(0), (2, 4))
TEXT = jnp.ones((2, 4))
NAN, INF = float("nan"), float("inf")


def _network(weights, x, t, condition):
    return jnp.tanh(x + condition)


def _guided(scale, **options):
    text = {"condition": TEXT, "negative_condition": -TEXT}
    return sample(
        (),
        model=_network,
        noise=NOISE,
        guidance_scale=scale,
        num_inference_steps=4,
        **text,
        **options,
    ).sample


@pytest.mark.parametrize("scale", [NAN, INF, -INF, "2", True, [1.0, NAN], [[1.0, 2.0]]])
def test_a_guidance_scale_that_is_no_number_is_refused(scale):
    """A NaN would be in every sample; a string is not taken for its digits."""
    with pytest.raises(ValueError, match="guidance_scale is"):
        _guided(scale)
    asked = Request(noise=NOISE[:1], condition=TEXT[:1], guidance_scale=scale)
    with pytest.raises(ValueError, match="guidance_scale is"):
        sample_many((), [asked], model=_network, num_inference_steps=4)


@pytest.mark.parametrize("decide", ["batch", "sample"])
@pytest.mark.parametrize("kind", [list, tuple, np.array, jnp.array])
def test_each_sample_may_have_a_guidance_scale_of_its_own(kind, decide):
    """As in a call of its own with that scale; 1 takes the conditional branch."""
    scales = [1.0, 3.0]
    alone = [_guided(scale)[i] for i, scale in enumerate([1.0 + 1e-7, 3.0])]
    given = _guided(kind(scales), decide=decide)
    np.testing.assert_allclose(given, alone, atol=1e-5)


def test_scales_may_be_traced():
    """Inside jit they are data."""
    scales = jnp.array([2.0, 3.0])
    np.testing.assert_allclose(jax.jit(_guided)(scales), _guided(scales), atol=1e-6)


@pytest.mark.parametrize("given", [[1.0, 2.0, 3.0], jnp.ones(3) * 2])
def test_scales_for_other_samples_than_there_are(given):
    """What was given and how many are wanted, traced or not."""
    for call in (_guided, jax.jit(_guided)):
        with pytest.raises(ValueError, match=r"scale has shape \(3,\).* 2 rows"):
            call(jnp.asarray(given))


@pytest.mark.parametrize("time", [NAN, INF])
def test_timesteps_are_finite(time):
    """They go into every embedding."""
    with pytest.raises(ValueError, match="timesteps is"):
        explicit_schedule([1, 0.5, 0], [time, 500])


@pytest.mark.parametrize(
    "forecast",
    [
        {"name": "damped", "damping": NAN},
        {"name": "linear", "damping": INF},
        {"name": "linear", "max_ratio": NAN},
        {"name": "linear_x0", "damping": NAN},
        Linear(damping=NAN),
        {"a": {"name": "linear", "damping": NAN}},
    ],
)
def test_a_forecasts_numbers_are_finite(forecast):
    """But for the cap, where infinity is none."""
    with pytest.raises(ValueError, match=r"damping|max_ratio"):
        jax_stepcache.static_schedule([True, False], forecast)
    jax_stepcache.static_schedule([True, False], {"name": "linear", "max_ratio": INF})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (42, r"key is 42; give jax.random.key\(42\)"),
        (np.int64(3), r"give jax.random.key\(3\)"),
        ("7", "key is '7'"),
        (0.5, "key is 0.5"),
        (True, "key is True"),
        (jax.random.split(jax.random.key(0), 2), r"key has shape \(2,\)"),
        (np.zeros(3, np.uint32), r"key has shape \(3,\)"),
    ],
)
def test_a_key_is_one_key(key, hint):
    """A seed where a key belongs is told how to become one."""
    digits = jax_stepcache.load_params("dit")
    labels = {"label": jnp.arange(1)}
    with pytest.raises((TypeError, ValueError), match=hint):
        sample(digits, observation=labels, key=key)
    with pytest.raises((TypeError, ValueError), match=hint):
        sample_many(digits, [Request(observation=labels, key=key)])


def test_one_scale_may_be_an_array():
    """An array of one number is that number, for however many samples."""
    for one in (np.array([2.0]), jnp.array([2.0]), [2.0]):
        np.testing.assert_array_equal(_guided(one), _guided(2.0))


def test_a_step_count_is_no_flag():
    """True is an integer to Python."""
    with pytest.raises(TypeError, match="num_inference_steps is True"):
        sample((), model=_network, noise=NOISE, num_inference_steps=True)
