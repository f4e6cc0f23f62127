"""A sample that there is, noised and denoised anew."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import Request, explicit_schedule, flow_schedule, sample, sample_many
from jax_stepcache.solvers.strength import begun_at

CLEAN = jax.random.normal(jax.random.key(3), (2, 4))
NOISE = jax.random.normal(jax.random.key(4), (2, 4))


def towards(params, x, t, condition):
    """A straight way to a place."""
    del condition
    sigma = jnp.maximum(t / 1000, 1e-3)[:, None]
    return (x - params) / sigma + 0.1 * x**2


def _timesteps(steps: int, strength: float) -> int:
    """Diffusers' `get_timesteps`: where Stable Diffusion's and Wan's loops begin."""
    init = min(int(steps * strength), steps)
    return max(steps - init, 0)


@given(steps=st.integers(1, 60), strength=st.floats(0.01, 1.0))
def test_the_steps_that_diffusers_takes(steps: int, strength: float) -> None:
    """Rule: of N steps the last int(N * strength)."""
    whole = flow_schedule(steps, 3.0)
    start = _timesteps(steps, strength)
    if start == steps:
        with pytest.raises(ValueError, match="none is left"):
            begun_at(whole, strength)
        return
    part = begun_at(whole, strength)
    assert part.timesteps == whole.timesteps[start:]
    assert part.sigmas == whole.sigmas[start:]


def test_a_sample_is_begun_from() -> None:
    """Rule: the last steps, from (1 - sigma) * sample + sigma * noise; by whatever
    cache, and as a request."""
    options = {"model": towards, "shift": 3.0, "cache": "static", "solver": "euler"}
    mask = {"cache_config": {"steps_mask": [1, 0, 1, 1]}}
    whole = flow_schedule(8, 3.0)
    part = explicit_schedule(whole.sigmas[4:], whole.timesteps[4:])
    sigma = part.sigmas[0]
    place = jnp.ones(4)
    rest = {k: x for k, x in options.items() if k != "shift"}
    wanted = sample(
        place, **rest, **mask, schedule=part, noise=(1 - sigma) * CLEAN + sigma * NOISE
    ).sample
    said = {"num_inference_steps": 8, "strength": 0.5, **mask}
    got = sample(place, **options, **said, init_sample=CLEAN, noise=NOISE)
    assert got.stats.computed.tolist() == [True, False, True, True]
    np.testing.assert_allclose(got.sample, wanted, atol=1e-6)
    each = [
        Request(init_sample=CLEAN[i : i + 1], noise=NOISE[i : i + 1]) for i in (0, 1)
    ]
    many = sample_many(place, each, **options, **said)
    np.testing.assert_allclose(
        np.concatenate([one.sample for one in many]), wanted, atol=1e-6
    )


def test_noise_is_drawn_as_it_is_alone() -> None:
    """A full strength is all noise, that of the key; each sample's by its own."""
    options = {"model": towards, "num_inference_steps": 2, "init_sample": CLEAN}
    schedule = explicit_schedule([1.0, 0.5, 0.0])
    del options["num_inference_steps"]
    keys = jax.random.split(jax.random.key(7), 2)
    both = sample(jnp.ones(4), **options, schedule=schedule, strength=1.0, key=keys)
    for i, key in enumerate(keys):
        one = options | {"init_sample": CLEAN[i : i + 1] + 5.0}
        alone = sample(jnp.ones(4), **one, schedule=schedule, strength=1.0, key=key)
        np.testing.assert_allclose(alone.sample[0], both.sample[i], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strength": 0.5}, "give that sample, init_sample="),
        ({"init_sample": CLEAN}, "give strength="),
        ({"init_sample": CLEAN, "strength": 0.01}, "none is left; give at least"),
        ({"init_sample": CLEAN, "strength": 1.5}, "strength"),
        ({"init_sample": CLEAN[:, :3], "strength": 0.5}, "init_sample"),
    ],
)
def test_what_does_not_fit(given: dict, message: str) -> None:
    """Said before anything is compiled."""
    with pytest.raises(ValueError, match=message):
        sample(jnp.ones(4), model=towards, noise=NOISE, num_inference_steps=8, **given)
