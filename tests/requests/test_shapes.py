"""Requests whose sizes differ, by `sample_many(shapes=)`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import Request, sample, sample_many

SIZES = [(3,), (2, 2), (3,), (5,), (2, 2), (3,)]
SHARED = {"cache": "step_cache", "num_inference_steps": 8, "solver": "euler"}


def towards(params, x, t, condition):
    """A way that bends, of any shape; the condition has a row of two numbers."""
    t = (t / 1000).reshape(-1, *(1,) * (x.ndim - 1))
    place = condition.sum(-1).reshape(t.shape)
    return params * (x - place) + t * jnp.sin(3 * x)


def _requests() -> list[Request]:
    keys = jax.random.split(jax.random.key(0), len(SIZES))
    return [
        Request(
            noise=jax.random.normal(key, (1, *size)),
            condition=jnp.full((1, 2), 0.1 * i),
            num_inference_steps=6 + i,
        )
        for i, (key, size) in enumerate(zip(keys, SIZES, strict=True))
    ]


@pytest.mark.parametrize("shapes", ["each", [(5,), (3,), (2, 2)]])
def test_each_size_is_batched_by_itself(shapes) -> None:
    """Rule: the results in the order of the requests, each as if alone."""
    requests = _requests()
    many = sample_many(
        jnp.ones(()), requests, shapes=shapes, model=towards, slots=2, **SHARED
    )
    for size, request, result in zip(SIZES, requests, many, strict=True):
        own = {**SHARED, **request.options()}
        alone = sample(jnp.ones(()), model=towards, **own)
        assert result.sample.shape == (1, *size)
        np.testing.assert_array_equal(result.stats.computed, alone.stats.computed)
        np.testing.assert_allclose(result.sample, alone.sample, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (None, r"requests\[1\].*\[1, 2, 2\]"),
        ([(3,), (5,)], r"requests\[1\].*is none of shapes"),
        ("echa", "Did you mean 'each'"),
        ([], "give at least one"),
    ],
)
def test_sizes_that_there_are_not(shapes, message: str) -> None:
    """Told before anything runs, with the request."""
    with pytest.raises(ValueError, match=message):
        sample_many(jnp.ones(()), _requests(), shapes=shapes, model=towards, **SHARED)


def test_a_shape_is_no_number() -> None:
    """A single shape is a list of one."""
    with pytest.raises(TypeError, match="without its axis of rows"):
        sample_many(jnp.ones(()), _requests(), shapes=(3, 5), model=towards, **SHARED)
