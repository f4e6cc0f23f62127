"""A fit goes on from its own file, and from no other's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import calibrate
from jax_stepcache.calibration.table_state import mark_of

WEIGHTS = jax.random.normal(jax.random.key(1), (4, 4)) / 2
FIT = {"steps": 1, "seconds": None, "batch": 2, "curvature": 2}


def network(weights, x, t, condition):
    h = jnp.tanh(x["a"] @ weights + t[:, None] / 1000) + condition
    return {"a": h, "b": jnp.sin(3 * x["b"])}


def samples(seed=0):
    noise = jax.random.normal(jax.random.key(seed), (8, 4))
    return {
        "noise": {"a": noise, "b": noise + 1},
        "condition": jnp.full((8, 4), 0.1),
        "negative_condition": jnp.zeros((8, 4)),
    }


run = functools.partial(
    calibrate,
    WEIGHTS,
    network,
    target={"model_calls": 3},
    num_inference_steps=6,
    solver="euler",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The file of a fit that has ended, and what it found."""
    file = tmp_path_factory.mktemp("fits") / "fit.npz"
    fit = {**FIT, "resume": file}
    found = run(samples=samples(), cache="bespoke", fit=fit, guidance_scale=2.0)
    return file, found


def test_a_mark_tells_all_that_was_asked_apart():
    """By numbers, shapes, dtypes and places; the same arrays have the same."""
    asked = ({"a": np.arange(4.0)}, [np.zeros(2)])
    mark = mark_of(*asked)
    assert mark_of({"a": jnp.arange(4.0, dtype=jnp.float32)}, asked[1]) != mark
    assert mark_of({"a": np.arange(4.0)}, [np.zeros(2)]) == mark
    for other in (
        ({"a": np.arange(4.0).reshape(2, 2)}, asked[1]),
        ({"b": np.arange(4.0)}, asked[1]),
        ({"a": np.arange(1.0, 5)}, asked[1]),
        (asked[0], [np.zeros(2), np.zeros(0)]),
        asked[::-1],
    ):
        assert mark_of(*other) != mark


@pytest.mark.slow
@pytest.mark.parametrize(
    "other",
    [
        {"samples": samples(1)},
        {"guidance_scale": 4.0},
        {"guidance_interval": (0.2, 0.9)},
        {"fit": {"reference_steps": 4}},
        {"fit": {"pooled": 1.0}},
        {"fit": {"outputs": {"a": 2.0}}},
    ],
)
def test_another_fit_is_refused(finished, other):
    """What it should come near to, on what, and what weighs how much tell it apart."""
    file, _ = finished
    fit = {**FIT, **other.get("fit", {}), "resume": file}
    given = {"samples": samples(), "guidance_scale": 2.0, **other, "fit": fit}
    with pytest.raises(ValueError, match="is of another fit"):
        run(cache="bespoke", **given)


@pytest.mark.slow
def test_levels_of_other_samples_are_refused(tmp_path):
    """Noise levels alone start from the same, whatever they are fitted on."""
    fit = {**FIT, "resume": tmp_path / "fit.npz"}
    given = {"samples": samples(), "guidance_scale": 2.0, "cache": "none", "fit": fit}
    run(**given)
    for other in ({"samples": samples(1)}, {"guidance_scale": 4.0}):
        with pytest.raises(ValueError, match="is of another fit"):
            run(**{**given, **other})


@pytest.mark.slow
def test_the_descent_may_go_on_otherwise(finished):
    """More steps, at another rate, from where it stands."""
    file, found = finished
    fit = {**FIT, "learning_rate": 1e-3, "patience": 2, "resume": file}
    again = run(samples=samples(), cache="bespoke", fit=fit, guidance_scale=2.0)
    before, after = (jax.tree.leaves(one.cache_config) for one in (found, again))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.quality == found.quality
