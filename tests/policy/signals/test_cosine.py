import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import View
from jax_stepcache.policy.signals import Cosine, Nothing
from jax_stepcache.policy.signals.cosine import cosine_per_sample

from ...plain_step_cache import plain_cosine


def view_of(sample):
    """A view of a sample, wherever the sampler stands."""
    return View(jnp.int32(0), jnp.float32(0), sample)


@functools.partial(jax.jit, static_argnums=2)
def signal_of(first, second, output=None):
    """The signal after two recorded velocities."""
    signal = Cosine(output)
    view = view_of(first)
    state = signal.record(signal.init(view), view, first)
    return signal.measure(signal.record(state, view, second), view)[0]


@given(seed=st.integers(0, 1000), batch=st.integers(1, 3))
def test_mean_over_the_batch_of_flattened_samples(seed, batch):
    """Each sample is flattened and its cosine taken; the batch is averaged."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, batch, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(signal_of(a, b), plain_cosine(a, b), atol=1e-6)


def test_zero_vectors_give_zero():
    """Norms are clamped as in the original: a zero velocity gives 0, not NaN."""
    zero, one = jnp.zeros((1, 4)), jnp.ones((1, 4))
    assert signal_of(zero, zero) == 0
    assert signal_of(zero, one) == 0
    assert signal_of(one, zero) == 0


def test_tiny_norms_are_clamped():
    """Below a norm of 1e-8 the cosine falls off instead of blowing up."""
    tiny = jnp.full((1, 4), 1e-10)
    np.testing.assert_allclose(signal_of(tiny, jnp.ones((1, 4))), 0.02, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_bad_number_spoils_the_mean(bad):
    """A NaN or infinity in one sample makes the signal NaN: it exceeds no threshold."""
    good = jnp.ones((3, 4))
    assert jnp.isnan(signal_of(good, good.at[1, 2].set(bad)))


def test_bfloat16_is_summed_in_float32():
    """Products and sums are float32: in bfloat16 a cosine crosses thresholds."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 4096)).astype(jnp.bfloat16)
    b = (a.astype(np.float32) + 0.33 * b.astype(np.float32)).astype(jnp.bfloat16)
    signal = signal_of(jnp.asarray(a), jnp.asarray(b))
    assert signal.dtype == jnp.float32
    exact = plain_cosine(a.astype(np.float32), b.astype(np.float32))
    assert abs(signal - exact) < 1e-6
    assert not jax.make_jaxpr(cosine_per_sample)(a, b).pretty_print().count("dot_")


def test_lowest_over_the_outputs():
    """Without a name every output is compared, and each sample's lowest counts."""
    still = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    turned = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    first = {"video": still, "action": still}
    second = {"video": still, "action": turned}
    assert signal_of(first, second) == 0.5  # cosines of the two samples: 1 and 0
    assert signal_of(first, second, "video") == 1
    assert signal_of(first, second, "action") == 0.5


def test_lowest_is_taken_in_each_sample():
    """The lowest output of each sample counts, not the output of the lowest mean."""
    still = jnp.array([[1.0, 0.0], [1.0, 0.0]])
    first_turned = jnp.array([[0.0, 1.0], [1.0, 0.0]])
    second_turned = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    first = {"video": still, "action": still}
    second = {"video": first_turned, "action": second_turned}
    assert signal_of(first, second) == 0


def test_only_compared_outputs_are_remembered():
    """The signal keeps one velocity, of the outputs it looks at."""
    sample = {"video": jnp.ones((1, 8)), "action": jnp.ones((1, 2))}
    state = Cosine("action").init(view_of(sample))
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 + 1


def test_unknown_output():
    """An output that the sample lacks is an error that names those it has."""
    sample = {"video": jnp.ones((1, 2)), "action": jnp.ones((1, 2))}
    with pytest.raises(ValueError, match=r"'vdieo'.*\['action', 'video'\]"):
        Cosine("vdieo").init(view_of(sample))
    with pytest.raises(ValueError, match=r"'video'.*has"):
        Cosine("video").init(view_of(jnp.ones((1, 2))))


def test_nothing_measures_nothing():
    """The signal of a fixed schedule is always NaN."""
    signal = Nothing()
    view = view_of(jnp.ones(2))
    state = signal.record(signal.init(view), view, jnp.ones(2))
    assert jnp.isnan(signal.measure(state, view)[0])
    assert jax.tree.leaves(state) == []
