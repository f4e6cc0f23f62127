"""Settings that were made for another number of steps."""

import warnings
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import StagedDenoiser, sample


def _blocks(weights, hidden, context, start, stop):
    return reduce(lambda h, _: h + 0.1 * jnp.tanh(h), range(start, stop), hidden)


MODEL = StagedDenoiser(
    2, lambda w, x, t, c: (x, None), _blocks, lambda w, hidden, c: hidden
)
NOISE = jax.random.normal(jax.random.key(0), (1, 3, 4))


def _computed(ratios, steps):
    result = sample(
        (),
        model=MODEL,
        noise=NOISE,
        cache="mag_cache",
        cache_config={"mag_ratios": ratios},
        num_inference_steps=steps,
        solver="euler",
    )
    return np.asarray(result.stats.computed)


@pytest.mark.parametrize("times", [2, 4])
def test_ratios_of_more_steps_are_spread_over_the_schedule(times):
    """Each belongs to a noise level, not to a number: the first ones are the calm."""
    calm, restless = 12, 36
    ratios = [1.0] * calm + [1.6] * restless
    steps = len(ratios) // times
    computed = _computed(ratios, steps)
    # From where it is restless nothing is reused.
    assert not computed[: calm // times].all()
    assert computed[calm // times + 1 :].all()


def test_ratios_of_fewer_steps_say_so():
    """The original counts the rest as unchanged, and so do we; but not in silence."""
    with pytest.warns(UserWarning, match="mag_ratios has 4 ratios for 8 steps"):
        computed = _computed([1.0, 1.0, 1.6, 1.6], 8)
    assert not computed[4:].all()


def test_as_many_ratios_as_steps_need_no_word():
    """The usual case is quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _computed([1.0] * 8, 8)
