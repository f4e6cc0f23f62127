"""Networks that say something else than a velocity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    EDMDiffusion,
    FlowMatching,
    Request,
    VPDiffusion,
    sample,
    sample_many,
)
from jax_stepcache.network.parametrisation import PREDICTS

NOISE = jnp.linspace(-1, 1, 8).reshape(2, 4)


def made(alpha, s, x0, noise):
    """What each kind of network would say of a sample that is made of these."""
    said = {"epsilon": noise, "sample": x0, "v_prediction": alpha * noise - s * x0}
    return alpha * x0 + s * noise, said


@pytest.mark.parametrize("predicts", PREDICTS)
@given(t=st.integers(0, 999), x0=st.floats(-2, 2), noise=st.floats(-2, 2))
def test_the_velocity_is_noise_less_data(predicts, t, x0, noise):
    """Whatever a network says, the velocity is that of the straight flow."""
    noising = VPDiffusion()
    told = jnp.full((1,), t, jnp.float32)
    alpha, s = (float(level[0]) for level in noising.levels(told))
    x, said = made(alpha, s, x0, noise)
    denoiser = noising.denoiser(lambda *_: jnp.full((1, 1), said[predicts]), predicts)
    given = denoiser(None, jnp.full((1, 1), x / (alpha + s)), told, None)
    # Of little signal or little noise, the other one is known less exactly.
    np.testing.assert_allclose(given, noise - x0, atol=2e-5 / min(alpha, s))


def test_the_network_sees_what_it_was_trained_on():
    """The sample is given back its own scale, and what is told is its own."""
    noising, seen = VPDiffusion(), []

    def network(params, x, t, condition):
        seen.append((x, t))
        return jnp.zeros_like(x)

    schedule = noising.schedule(4)
    first = noising.start(NOISE, schedule)
    told = jnp.full((2,), schedule.timesteps[0])
    noising.denoiser(network, "epsilon")(None, first, told, None)
    np.testing.assert_allclose(seen[0][0], NOISE, atol=1e-6)
    np.testing.assert_array_equal(seen[0][1], [999, 999])


@pytest.mark.parametrize(
    "noising",
    [
        VPDiffusion(),
        VPDiffusion("squaredcos_cap_v2"),
        EDMDiffusion(),
        FlowMatching(),
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 7, 999])
def test_schedules_have_the_levels_that_networks_are_told(noising, steps):
    """Noise over signal and noise, at what the network is told, is the level."""
    schedule = noising.schedule(steps)
    assert schedule.num_steps == steps
    alpha, s = noising.levels(jnp.asarray(schedule.timesteps, jnp.float32))
    np.testing.assert_allclose(s / (alpha + s), schedule.sigmas[:-1], atol=3e-7)
    assert schedule.sigmas[-1] == 0


def says_noise(weights, x, t, condition):
    """Bends with the sample; made once, for another function is another program."""
    return jnp.sin(weights * x + t[:, None] / 300)


def whole():
    """Options of `sample`, and what it makes by them."""
    noising = VPDiffusion()
    model, schedule = noising.denoiser(says_noise, "epsilon"), noising.schedule(6)
    options = {"model": model, "schedule": schedule, "solver": "unipc"}
    return options, sample(1.0, noise=NOISE, **options)


def test_a_cache_goes_with_it():
    """It is a denoiser as any other, whose velocity is looked at."""
    options, uncached = whole()
    cached = sample(1.0, noise=NOISE, cache="step_cache", **options)
    assert cached.stats.model_calls < uncached.stats.model_calls == 6


@pytest.mark.slow
def test_requests_and_gradients_go_with_it():
    """In slots it samples the same, and a gradient goes through it."""
    options, uncached = whole()
    (one,) = sample_many(1.0, [Request(noise=NOISE[:1])], **options)
    np.testing.assert_allclose(one.sample, uncached.sample[:1], atol=1e-5)
    slope = jax.grad(lambda w: sample(w, noise=NOISE, **options).sample.sum())(1.0)
    assert np.isfinite(slope)
    assert slope != 0


def test_it_is_one_program_for_equal_ones():
    """Made anew of the same network and numbers, a denoiser is the same key."""
    makers = [lambda: VPDiffusion().denoiser(says_noise, "sample")] * 2
    one, other = (make() for make in makers)
    assert one == other
    assert hash(one) == hash(other)


def test_half_precision_comes_back():
    """The network sees the sample's dtype, and the velocity has it."""
    dtypes = []

    def network(params, x, t, condition):
        dtypes.append(x.dtype)
        return x

    for noising, predicts in ((VPDiffusion(), "sample"), (EDMDiffusion(), "edm")):
        told = jnp.full((2,), 7.0)
        half = NOISE.astype(jnp.bfloat16)
        given = noising.denoiser(network, predicts)(None, half, told, None)
        assert given.dtype == dtypes[-1] == jnp.bfloat16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: VPDiffusion("scaled_linaer"),
            "mean 'scaled_linear'",
        ),
        (lambda: VPDiffusion(beta_end=2.0), "beta_end is 2.0"),
        (lambda: VPDiffusion().schedule(2000), "num_steps is 2000, and there are 1000"),
        (lambda: VPDiffusion().schedule(4, "trailling"), "'trailing'"),
        (lambda: VPDiffusion().denoiser(says_noise, "eps"), "mean 'epsilon'"),
        (lambda: FlowMatching().denoiser(says_noise, "v_prediction"), "Supported"),
        (lambda: EDMDiffusion().denoiser(says_noise, "epsilon"), "'edm'"),
        (lambda: EDMDiffusion(sigma_min=90.0), "noise falls"),
        (lambda: EDMDiffusion(sigma_data=-1.0), "sigma_data is -1.0"),
    ],
)
def test_bad_input(make, message):
    """What does not fit is told with what would, before anything is compiled."""
    with pytest.raises(ValueError, match=message):
        make()
