import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    Hold,
    Linear,
    Params,
    StepCacheBackend,
    flow_schedule,
    sample,
    static_schedule,
    step_cache,
)

from .jaxprs import primitives
from .networks import Watched, constant, counted_steps, dense, turning
from .small_model import SmallModel, small_noise, small_params

WEIGHTS = jax.random.normal(jax.random.key(1), (4, 4)) / 2
NOISE = jax.random.normal(jax.random.key(2), (2, 4))
CONDITION = jnp.full((2, 4), 0.1)

# Euler, because it compiles in half the time.
sample_dense = functools.partial(
    sample, WEIGHTS, model=dense, noise=NOISE, condition=CONDITION, solver="euler"
)
sample_small = functools.partial(sample, small_params(), noise=small_noise())


def sample_turning(angle, cache, noise=None, model=turning):
    """Samples a velocity that turns by ``angle`` at each step."""
    return sample(
        (),
        model=model,
        noise=jnp.zeros((1, 2)) if noise is None else noise,
        condition=jnp.float32(angle),
        schedule=counted_steps(),
        solver="euler",
        cache=cache,
    )


def steps_of(result):
    return np.flatnonzero(result.stats.computed).tolist()


def test_without_a_cache_every_step_runs():
    """``cache=None`` computes all 16 steps and looks at no signal."""
    result = sample_dense()
    assert steps_of(result) == list(range(16))
    assert np.isnan(result.stats.signal).all()
    assert result.stats.model_calls == 16


@pytest.mark.parametrize(
    ("angle", "steps"),
    [
        (0.0, [0, 1, 6, 11]),
        (0.3, [0, 1, 6, 7, 12, 13]),  # cos 0.3 is 0.955, cos 1.5 is 0.07
        (0.36, [0, 1, 4, 5, 8, 9, 12, 13]),  # cos 0.36 is 0.936
        (0.8, list(range(16))),
    ],
)
def test_step_cache_follows_the_direction(angle, steps):
    """StepCache skips while two computed velocities point the same way."""
    result = sample_turning(angle, "step_cache")
    assert steps_of(result) == steps
    assert result.stats.model_calls == len(steps)
    np.testing.assert_allclose(result.stats.signal[2], np.cos(angle), atol=1e-6)


def test_static_schedules_execute_their_steps_and_no_others():
    """A skipped step really does not run the network."""
    network = Watched(constant, executions=True)
    for count in (5, 6, 7, 8):
        result = sample(
            jnp.float32(1),
            model=network,
            noise=NOISE,
            schedule=counted_steps(),
            solver="euler",
            cache="static",
            cache_config={"num_dit_steps": count},
        )
        jax.effects_barrier()
        assert network.ran == steps_of(result)
        assert len(network.ran) == count == result.stats.model_calls
        network.ran.clear()


def test_step_cache_executes_what_it_reports():
    """The steps reported as computed are those at which the network executed."""
    network = Watched(turning, executions=True)
    result = sample_turning(0.36, "step_cache", model=network)
    jax.effects_barrier()
    assert network.ran == steps_of(result) == [0, 1, 4, 5, 8, 9, 12, 13]


def test_thresholds_and_countdowns_never_compile_again():
    """One trace serves all settings, weights and conditions of StepCache."""
    run = functools.partial(sample_dense, model=(network := Watched(dense)))
    calls = set()
    for thresholds in ([0.95, 0.93], [0.999, 0.2], [-0.5, -1.0]):
        for countdowns in ([4, 2], [1, 1]):
            config = {
                "velocity_sim_thresholds": thresholds,
                "velocity_skip_countdowns": countdowns,
            }
            result = run(cache="step_cache", cache_config=config)
            calls.add(int(result.stats.model_calls))
    assert len(calls) > 1
    assert max(calls) < 16
    run(condition=-CONDITION, noise=-NOISE, cache=step_cache((0.2,), (3,)))
    assert network.traces == 2  # one tier is another shape


def test_masks_never_compile_again():
    """One trace serves all masks of a length."""
    network = Watched(dense)
    for mask in ([1] + [0] * 15, [1, 0] * 8, [1] * 15 + [0]):
        config = {"steps_mask": mask}
        result = sample_dense(model=network, cache="static", cache_config=config)
        assert result.stats.computed.tolist() == [bool(x) for x in mask]
    assert network.traces == 1


def test_guidance_and_damping_never_compile_again():
    """One trace serves all guidance scales and all dampings of a forecast."""
    network = Watched(dense)
    results, traces = [], []
    for scale, damping in ((2.0, 1.0), (5, 0.25), (jnp.float32(0.5), 0.0)):
        results.append(
            sample_dense(
                model=network,
                negative_condition=-CONDITION,
                guidance_scale=scale,
                cache="step_cache",
                forecast=Linear(damping),
            )
        )
        traces.append(network.traces)
    # The first call asks the network which axes of its condition are rows, too.
    assert traces[0] == traces[-1] <= 3
    assert all(2 <= r.stats.model_calls < 16 for r in results)
    assert len({float(r.sample[0, 0]) for r in results}) == 3


def test_keys_and_observations_never_compile_again():
    """One trace serves all keys and observations; no key means always the same noise"""
    traces = []

    class Counting(SmallModel):
        def denoise(self, weights, sample, t, condition):
            traces.append(1)
            return super().denoise(weights, sample, t, condition)

    params = Params(small_params().weights, Counting())
    run = functools.partial(sample, params, cache="step_cache")
    other = params.model.example(jax.random.key(9))
    results = [run(), run(key=jax.random.key(0)), run(key=jax.random.key(1))]
    results += [run(observation=other), run(guidance_scale=3.0)]
    assert len(traces) == 1
    assert all(2 <= r.stats.model_calls < 16 for r in results)
    actions = [r.sample["video"] for r in results]
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not any(np.allclose(actions[0], another) for another in actions[2:])


@pytest.mark.usefixtures("full_compilation")
def test_the_default_program_has_no_host_callback():
    """Nothing talks to the host from inside the loop."""

    def run(noise):
        return sample_dense(noise=noise, cache="step_cache")

    assert not any("callback" in name for name in primitives(run, NOISE))
    assert "callback" not in jax.jit(run).lower(NOISE).as_text()


def test_cached_and_uncached_programs_hold_the_network_once():
    """As many matrix products are compiled with a cache as without, and one branch."""

    def count(cache):
        return primitives(lambda noise: sample_dense(noise=noise, cache=cache), NOISE)

    uncached, cached = count(None), count("step_cache")
    assert uncached["dot_general"] == cached["dot_general"] == 1
    assert (uncached["cond"], cached["cond"]) == (0, 1)
    assert cached["while"] == 1


def test_inside_jit():
    """`sample` may be part of a jitted function, with the same result."""
    alone = sample_dense(cache="step_cache")
    inside = jax.jit(lambda n: sample_dense(noise=n, cache="step_cache"))(NOISE)
    assert steps_of(inside) == steps_of(alone)
    assert 2 <= len(steps_of(alone)) < 16
    np.testing.assert_allclose(inside.sample, alone.sample, atol=1e-6)


def test_a_traced_guidance_scale():
    """Inside `jit` the guidance scale may be traced; then both branches run."""
    run = functools.partial(sample_dense, negative_condition=-CONDITION)
    traced = jax.jit(lambda scale: run(guidance_scale=scale))(jnp.float32(3))
    np.testing.assert_allclose(traced.sample, run(guidance_scale=3.0).sample, atol=1e-6)


def test_under_vmap_each_element_decides_for_itself():
    """A mapped element gets the decisions and the sample it gets alone."""
    angles = jnp.array([0.0, 0.3, 0.36, 0.8])
    noise = jax.random.normal(jax.random.key(0), (4, 1, 2))

    def run(angle, noise):
        return sample_turning(angle, "step_cache", noise)

    mapped = jax.vmap(run)(angles, noise)
    assert mapped.stats.model_calls.tolist() == [4, 6, 8, 16]
    for i, angle in enumerate(angles):
        alone = run(angle, noise[i])
        np.testing.assert_array_equal(mapped.stats.computed[i], alone.stats.computed)
        np.testing.assert_allclose(mapped.stats.signal[i], alone.stats.signal, 1e-6)
        np.testing.assert_allclose(mapped.sample[i], alone.sample, atol=1e-6)


def test_thresholds_and_masks_may_be_mapped():
    """A sweep over a policy's numbers is one mapped program."""
    thresholds = jnp.array([[0.97, 0.96], [0.95, 0.93], [-0.5, -0.9]])
    swept = jax.vmap(lambda t: sample_turning(0.36, step_cache(t, (4, 2))))(thresholds)
    assert swept.stats.model_calls.tolist() == [16, 8, 4]
    masks = jnp.array([[True] + [False] * 15, [True, False] * 8])
    swept = jax.vmap(lambda m: sample_turning(0.36, static_schedule(m)))(masks)
    assert swept.stats.model_calls.tolist() == [1, 8]


def test_scale_one_runs_one_branch():
    """At a guidance scale of 1 the network sees the batch, otherwise twice as much."""

    def rows(**options):
        network = Watched(dense)
        jax.eval_shape(lambda: sample_dense(model=network, **options))
        return network.rows

    assert rows() == 2
    assert rows(guidance_scale=1.0) == 2
    assert rows(guidance_scale=1.5, negative_condition=CONDITION) == 4


def test_guidance_with_equal_branches_changes_nothing():
    """Where both branches agree, the scale has no effect."""
    guided = sample_dense(negative_condition=CONDITION, guidance_scale=7.0)
    np.testing.assert_allclose(guided.sample, sample_dense().sample, atol=1e-5)


def test_step_cache_looks_at_the_guided_velocity():
    """The signal is the cosine of what guidance gives, not of either branch."""
    result = sample(
        (),
        model=turning,
        noise=jnp.zeros((1, 2)),
        condition=jnp.array([0.2]),
        negative_condition=jnp.array([0.0]),
        guidance_scale=2.0,
        schedule=counted_steps(),
        solver="euler",
        cache="step_cache",
    )
    conditional = np.array([[np.cos(a), np.sin(a)] for a in (0.0, 0.2)])
    first, second = 2 * conditional - conditional[0]
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert abs(cosine - np.cos(0.2)) > 0.01
    np.testing.assert_allclose(result.stats.signal[2], cosine, atol=1e-6)
    assert 2 <= result.stats.model_calls < 16


def test_bundled_model_guides_video_and_not_action():
    """With a bundled model only its guided outputs feel the scale."""
    plain, guided = (
        sample_small(guidance_scale=scale, num_inference_steps=1).sample
        for scale in (1.0, 5.0)
    )
    np.testing.assert_allclose(guided["action"], plain["action"], atol=1e-6)
    assert not np.allclose(guided["video"], plain["video"])


def test_bundled_model_compares_its_signal_output():
    """A model names the output whose velocity is compared; ``"lowest"`` takes all."""
    default, *named = (
        sample_small(cache="step_cache", cache_config={"signal_output": output})
        for output in (None, "video", "action", "lowest")
    )
    assert all(2 <= r.stats.model_calls < 16 for r in (default, *named))
    signals = [float(r.stats.signal[2]) for r in named]
    assert float(default.stats.signal[2]) == signals[0] != signals[1]
    assert signals[2] == min(signals)


def test_final_noise_by_name():
    """Decoupled inference: the video stops at its final noise, the action at 0."""

    class Straight(SmallModel):
        def denoise(self, weights, sample, t, condition):
            half = {name: x[: len(condition)] for name, x in sample.items()}
            return constant(1.0, half, t, condition)

    params = Params(small_params().weights, Straight())
    result = sample(
        params, noise=small_noise(), final_noise={"video": 0.8}, cache="step_cache"
    )
    assert result.stats.model_calls == 4
    for name, final in (("video", 0.8), ("action", None)):
        sigmas = flow_schedule(16, 5.0, final).sigmas
        expected = small_noise()[name] + sigmas[-1] - sigmas[0]
        np.testing.assert_allclose(result.sample[name], expected, atol=1e-5)


def test_schedules_by_name_for_ones_own_model():
    """``schedule={...}`` gives each output its own sigmas, and ``t`` its own entry."""
    told = []

    def network(params, sample, t, condition):
        told.append(jax.tree.map(lambda x: (x.shape, x.dtype), t))
        return constant(params, sample, t, condition)

    noise = {"video": jnp.ones((2, 1)), "action": jnp.ones((2, 1))}
    schedule = {"video": flow_schedule(6, 5.0, 0.8), "action": flow_schedule(6)}
    result = sample(
        jnp.float32(1),
        model=network,
        noise=noise,
        schedule=schedule,
        cache="step_cache",
    )
    assert told == [dict.fromkeys(("action", "video"), ((2,), jnp.dtype("float32")))]
    assert steps_of(result) == [0, 1]
    for name, s in schedule.items():
        expected = noise[name] + s.sigmas[-1] - s.sigmas[0]
        np.testing.assert_allclose(result.sample[name], expected, atol=1e-5)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_bfloat16_noise_gives_bfloat16_samples(solver):
    """The result has the noise's dtypes; decisions are made in float32."""
    noise = NOISE.astype(jnp.bfloat16)
    result = sample_dense(noise=noise, solver=solver, cache="step_cache")
    assert result.sample.dtype == jnp.bfloat16
    assert result.stats.signal.dtype == jnp.float32
    assert 2 <= result.stats.model_calls < 16


def test_a_cache_may_be_a_name_a_backend_or_a_policy():
    """All three ways of asking for StepCache give the same result."""
    caches = ["step_cache", StepCacheBackend(), step_cache()]
    results = [sample_turning(0.3, cache) for cache in caches]
    assert all(steps_of(r) == [0, 1, 6, 7, 12, 13] for r in results)
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].sample, other.sample)


def test_forecasts_by_name():
    """Hold is StepCache's own; another forecast gives another result."""
    held = sample_dense(cache="step_cache")
    same = sample_dense(cache="step_cache", forecast=Hold())
    np.testing.assert_array_equal(held.sample, same.sample)
    for name in ("linear", "linear_x0"):
        ahead = sample_dense(cache="step_cache", forecast=name)
        assert not np.allclose(ahead.sample, held.sample)
        assert 2 <= ahead.stats.model_calls < 16


def test_tuned_schedules_come_from_the_model():
    """``cache="tuned"`` runs the schedule that the model offers for a budget."""
    assert steps_of(sample_small(cache="tuned", budget=4)) == [0, 2, 6, 11]
