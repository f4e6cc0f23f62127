"""Networks that were trained on any noise, as flows."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from jax_stepcache import (
    EDMDiffusion,
    FlowMatching,
    SwitchAt,
    VPDiffusion,
    adapt,
    as_flow,
    explicit_schedule,
    sample,
)
from jax_stepcache.network.as_flow import Rates
from tests.network.adapting import strangers

NOISE = jnp.linspace(-1, 1, 8).reshape(2, 4)
STEPS = 40
SLOPE = np.linspace(0.02, 0.98, STEPS)


def circle(t):
    """Rates of a half circle: all signal at 0, nearly all noise at 1."""
    return jnp.cos(t * 1.5), jnp.sin(t * 1.5)


def says(params, x, t, condition):
    """Bends with the sample and the time."""
    return jnp.tanh(params * x + jnp.reshape(t, (-1, 1)) / 7)


def ddim(said, x, alpha, s, then):
    """One step of DDIM without noise, in float64."""
    x0 = (x - s * said) / alpha
    return then[0] * x0 + then[1] * said


rising = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=5).map(
    lambda gaps: np.cumsum(gaps) / (sum(gaps) + 0.02)
)


@given(share=rising, x=st.floats(-3, 3), epsilon=st.floats(-3, 3))
def test_a_step_of_euler_is_a_step_of_ddim(share, x, epsilon):
    """For any rates: both are the same number, as exact as float32 has it."""
    alphas, sigmas = 1 - share**2 + 0.01, share * 1.7
    rates = alphas.tolist(), sigmas.tolist()
    flow = as_flow(lambda *_: jnp.full((1, 1), epsilon), rates)
    times = list(range(len(share)))[::-1]
    schedule = flow.schedule(times)
    levels = [*zip(alphas[::-1], sigmas[::-1], strict=True), (1.0, 0.0)]
    for i, (alpha, s) in enumerate(levels[:-1]):
        own = alpha + s
        then = levels[i + 1]
        wanted = ddim(epsilon, x, alpha, s, then)
        told = jnp.full((1,), times[i], jnp.float32)
        velocity = flow(None, jnp.full((1, 1), x / own), told, None)[0, 0]
        gap = schedule.sigmas[i + 1] - schedule.sigmas[i]
        found = (x / own + gap * float(velocity)) * sum(then)
        # What rounding does to the sample, over the little signal there is.
        most = 2e-6 * (abs(x) + abs(epsilon)) * own / alpha
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=most)
        exact = epsilon - (x - s * epsilon) / alpha
        found = (x / own + gap * exact) * sum(then)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "rates",
    [
        pytest.param(VPDiffusion("squaredcos_cap_v2"), marks=pytest.mark.slow),
        ((1 - SLOPE**2).tolist(), (2 * SLOPE).tolist()),
        pytest.param(circle, marks=pytest.mark.slow),
    ],
)
def test_a_run_of_euler_is_a_run_of_ddim(rates):
    """`sample` makes what a loop of DDIM makes with the network's own samples."""
    flow = as_flow(says, rates)
    times = [38, 30, 17, 6, 1] if not callable(rates) else [0.95, 0.7, 0.4, 0.1]
    schedule = flow.schedule(times)
    start = flow.start(NOISE, schedule)
    found = sample(
        jnp.float32(0.7), model=flow, noise=start, schedule=schedule, solver="euler"
    )
    x = np.asarray(flow.own_sample(start, times[0]), np.float64)
    levels = []
    for t in times:
        alpha, s = flow.denoiser.noising.levels(jnp.full(1, t, jnp.float32))
        levels.append((float(alpha[0]), float(s[0])))
    for i, t in enumerate(times):
        said = np.asarray(says(0.7, jnp.asarray(x, jnp.float32), jnp.full(2, t), None))
        then = [*levels, (1.0, 0.0)][i + 1]
        x = ddim(said.astype(np.float64), x, *levels[i], then)
    np.testing.assert_allclose(found.sample, x, atol=2e-5)


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v", "own"])
@given(share=st.floats(0.05, 0.95), x0=st.floats(-2, 2), noise=st.floats(-2, 2))
def test_whatever_is_said_the_velocity_is_noise_less_data(prediction, share, x0, noise):
    """Also by a function of what the network says."""
    alpha, s = 1 - share / 2, 1.5 * share
    said = {
        "epsilon": noise,
        "x0": x0,
        "v": alpha * noise - s * x0,
        "own": (x0 + noise) / 2,
    }

    def own(said, x, alpha, s):
        x0 = (x - 2 * s * said) / (alpha - s)
        return x0, 2 * said - x0

    if prediction == "own" and abs(alpha - s) < 0.05:
        return
    rates = [1.0, alpha], [0.0, s]
    flow = as_flow(
        lambda *_: jnp.full((1, 1), said[prediction]),
        rates,
        own if prediction == "own" else prediction,
    )
    x = jnp.full((1, 1), (alpha * x0 + s * noise) / (alpha + s))
    found = flow(None, x, jnp.ones(1), None)
    np.testing.assert_allclose(found, noise - x0, atol=1e-3)


def test_the_way_there_and_back():
    """The network sees its own sample; at the end the flow's is the clean one."""
    flow = as_flow(says, (SLOPE[::-1].tolist(), SLOPE.tolist()))
    schedule = flow.schedule(4)
    assert schedule.num_steps == 4
    assert schedule.sigmas[-1] == 0
    first = flow.start(NOISE, schedule)
    own = flow.own_sample(first, schedule.timesteps[0])
    alpha, s = SLOPE[0], SLOPE[-1]
    np.testing.assert_allclose(own, NOISE * np.hypot(alpha, s), atol=1e-6)


def test_what_there_was_is_not_doubled():
    """Of the noises that are known it makes what their own methods make."""
    for noising, name, own in (
        (VPDiffusion(), "v", "v_prediction"),
        (EDMDiffusion(), "edm", "edm"),
        (FlowMatching(), "x0", "sample"),
    ):
        flow = as_flow(says, noising, name)
        assert flow.denoiser == noising.denoiser(says, own)
        assert flow.schedule(5) == noising.schedule(5)
        assert jnp.array_equal(
            flow.start(NOISE, flow.schedule(5)),
            noising.start(NOISE, noising.schedule(5)),
        )


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: as_flow(3), "predict is 3; it must be a function"),
        (lambda: as_flow(says, prediction="eps"), "Did you mean 'epsilon'"),
        (lambda: as_flow(says, prediction="v_prediction"), "Did you mean 'v'"),
        (lambda: as_flow(says, prediction="sample"), "Did you mean 'x0'"),
        (lambda: as_flow(says, prediction={}), "prediction is {}; give one of"),
        (lambda: as_flow(says, prediction=len), r"prediction takes .*said, sample"),
        (lambda: as_flow(lambda p, x: x), r"predict takes \(p, x\), and is called"),
        (lambda: as_flow(says, VPDiffusion), r"a class; give VPDiffusion\(...\)"),
        (lambda: as_flow(says, lambda: 1), r"rates takes \(\), .* rates\(t\)"),
        (lambda: as_flow(says, lambda t: t), r"returned array \[3\] of float32\[3\]"),
        (lambda: as_flow(says, lambda t: (math.cos(t), t)), "function of jax.numpy"),
        (lambda: as_flow(says, lambda t: (np.cos(t), t)), "function of jax.numpy"),
        (lambda: as_flow(says).schedule(1000), "spacing='trailing' takes each once"),
        (lambda: as_flow(says).schedule([1200, 3]), "at most 999"),
        (lambda: as_flow(says, circle).schedule([0.5], "trailing"), "spacing is"),
        (lambda: as_flow(says).start(NOISE, 4), "schedule is 4; give what flow"),
        (lambda: as_flow(says).start(3, as_flow(says).schedule(4)), "floating point"),
        (lambda: as_flow(says).own_sample(NOISE, "x"), "t is 'x'"),
        (lambda: as_flow(says, prediction="edm"), "goes with rates=EDMDiffusion"),
        (lambda: as_flow(says, rate=3), "Did you mean 'rates'"),
        (lambda: as_flow(says, "cosine"), "rates is 'cosine'; give VPDiffusion"),
        (lambda: as_flow(says, ([1.0], [0.0, 1.0])), "1 alphas and 2 sigmas"),
        (lambda: as_flow(says, ([1.0], ["a"])), "sigmas"),
        (lambda: as_flow(says, circle).schedule(7), "give the times"),
        (lambda: as_flow(says, circle).schedule([0.1, 0.5]), "fall"),
        (
            lambda: as_flow(says, ([1.0, 0.0], [0.0, 1.0])).schedule([1]),
            "there is no signal",
        ),
        (
            lambda: as_flow(says, ([1.0, 0.5], [0.0, 1.0]), "x0").schedule([1, 0]),
            "there is no noise",
        ),
        (lambda: as_flow(says, ([1.0, 0.5], [0.0, 1.0])).schedule([7]), "steps"),
    ],
)
def test_bad_input(made, words):
    """What was given, what is wanted, and the nearest right name."""
    with pytest.raises((TypeError, ValueError), match=words):
        made()


def test_a_schedule_may_tell_the_noise_level_itself():
    """By name; another name is told with the nearest."""
    sigmas = [0.9, 0.5, 0.25, 0.0]
    schedule = explicit_schedule(sigmas, timesteps="sigma")
    assert schedule == explicit_schedule(sigmas, sigmas[:-1])
    for name in ("sigmas", "time", "t"):
        with pytest.raises(ValueError, match="Did you mean 'sigma'"):
            explicit_schedule(sigmas, timesteps=name)


def test_times_of_its_own_must_be_given():
    """The usual schedule's are another network's, and the sample would be wrong."""
    flow = as_flow(lambda w, x, t, c: x * 0)
    noise = jnp.ones((2, 3))
    with pytest.raises(ValueError, match=r"schedule=flow\.schedule"):
        sample(None, model=flow, noise=noise, num_inference_steps=5, solver="euler")
    schedule = flow.schedule(5)
    sample(None, model=flow, noise=flow.start(noise, schedule), schedule=schedule)


def test_what_it_says_has_the_samples_shape():
    """Or it would be broadcast."""
    flow = as_flow(lambda w, x, t, c: x[:, :1])
    noise, schedule = jnp.ones((2, 3)), flow.schedule(5)
    with pytest.raises(
        ValueError, match=r"answer has shapes .*\[2, 1\]; the sample has .*\[2, 3\]"
    ):
        sample(None, model=flow, noise=noise, schedule=schedule)


@given(st.lists(st.floats(0, 99), min_size=2, max_size=6, unique=True))
def test_times_between_listed_ones_are_the_nearest(times):
    """The schedule's level is that at which the network is asked."""
    listed = np.linspace(1, 0.1, 100), np.linspace(0.05, 1, 100)
    rates = Rates(listed=np.array(listed))
    alpha, s = rates.exactly(np.array(times))
    found = rates.levels(jnp.asarray(times, jnp.float32))
    np.testing.assert_allclose(found, (alpha, s), atol=1e-6)


def by_shape(t):
    """Rates that ask their times for what only arrays have, and a constant signal."""
    return 1.0, t.reshape(t.shape[0], -1)[:, 0] * 3


def indexed(t):
    """Rates that change an array, as only JAX's can be."""
    return 1.0, jnp.zeros(t.shape).at[...].set(3 * t)


@pytest.mark.parametrize("rates", [by_shape, indexed])
def test_rates_are_asked_with_all_times_at_once(rates):
    """On the host and in the loop: one array of times; a number says all."""
    flow = as_flow(says, rates)
    schedule = flow.schedule([1.5, 0.5, 0.1])
    wanted = 3 * np.array([1.5, 0.5, 0.1])
    np.testing.assert_allclose(schedule.sigmas[:-1], wanted / (1 + wanted), rtol=1e-6)
    noise = flow.start(NOISE, schedule)
    assert jnp.isfinite(
        sample(1.0, model=flow, noise=noise, schedule=schedule).sample
    ).all()


def test_every_step_of_the_training():
    """As many steps as there were: each once."""
    told = VPDiffusion().schedule(1000, "trailing").timesteps
    assert list(told) == list(range(999, -1, -1))


def adapted_flow():
    """A network in stages that says the noise, and the flow that it is called by."""
    flow = as_flow(lambda network, *given: network(*given))
    network = strangers.WanLike(nnx.Rngs(0))
    return flow, network, adapt(network, call=flow, blocks=lambda n: n.blocks)


def test_a_network_in_stages_is_called_by_its_flow():
    """`adapt(call=flow)` gives the velocity that the flow gives of the whole."""
    flow, network, (weights, model) = adapted_flow()
    given = strangers.noise(), jnp.full(2, 400.0), strangers.text()
    np.testing.assert_allclose(
        model(weights, *given), flow(network, *given), rtol=1e-5, atol=1e-5
    )


def switched():
    flow = as_flow(says)
    return SwitchAt(flow, flow, sigma=0.5), {"high": 1.0, "low": 1.0}, NOISE, None


def in_stages():
    _, _, (weights, model) = adapted_flow()
    return model, weights, strangers.noise(), strangers.text()


@pytest.mark.parametrize("made", [switched, in_stages])
def test_a_flow_within_needs_its_schedule_too(made):
    """What holds a flow asks for its times as the flow alone does: with others, and
    noise of another scale, the sample would be wrong without a word."""
    model, weights, noise, condition = made()
    with pytest.raises(ValueError, match=r"give schedule=flow\.schedule"):
        sample(weights, model=model, noise=noise, condition=condition)
