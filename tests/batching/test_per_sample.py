"""decide="sample": each sample of a batch as alone, also inside transformations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_stepcache import (
    SampleResult,
    StagedDenoiser,
    flow_schedule,
    sample,
    sample_many,
    static_schedule,
    step_cache,
    summary,
)
from jax_stepcache.network.guidance import mix_branches

from ..staged import SKIPPING, UNROLLED, WEIGHTS, run

ROWS = 3


def batch(guided: bool) -> dict[str, Any]:
    """Three samples, some pushed harder by their conditions than others."""
    draw = np.random.default_rng(8).normal
    push = np.asarray([0.1, 1.0, 3.0], np.float32)[:, None]
    shown = {
        "noise": jnp.asarray(draw(size=(ROWS, 4, 3)), jnp.float32),
        "condition": jnp.asarray(draw(size=(ROWS, 8)) * push, jnp.float32),
    }
    if guided:
        negative = jnp.asarray(draw(size=(ROWS, 8)), jnp.float32)
        shown |= {"negative_condition": negative, "guidance_scale": 2.0}
    return shown


def row(shown: dict[str, Any], i: int) -> dict[str, Any]:
    return {k: x if k == "guidance_scale" else x[i : i + 1] for k, x in shown.items()}


def assert_row(together: SampleResult, alone: SampleResult, i: int) -> None:
    ours = jax.tree.map(lambda x: x[i], together.stats._replace(batching=None))
    np.testing.assert_array_equal(ours.computed, alone.stats.computed)
    assert ours.model_calls == alone.stats.model_calls
    np.testing.assert_allclose(ours.signal, alone.stats.signal, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(together.sample[i], alone.sample[0], atol=1e-5)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("cache", ["step_cache", "cache_dit"])
def test_each_sample_gets_what_it_gets_alone(cache: str, guided: bool) -> None:
    """Decisions, signals and outputs, around the network and within."""
    config = SKIPPING.get(cache, {"velocity_sim_thresholds": (0.9, 0.6)})
    shown = batch(guided)
    together = run(cache, config, decide="sample", **shown)
    for i in range(ROWS):
        assert_row(together, run(cache, config, **row(shown, i)), i)
    computed = np.asarray(together.stats.computed)
    assert computed.any()
    assert not computed.all()
    assert together.stats.batching.slot.tolist() == [0, 1, 2]
    # Every array has the batch's axis, so that one sample's account can be taken out.
    one = jax.tree.map(lambda x: x[1], together)
    assert str(int(one.stats.model_calls)) in str(summary(one))


def test_the_batchs_mean_changes_outputs_and_each_for_itself_does_not() -> None:
    """Companions matter with decide="batch", and not with decide="sample"."""
    shown = batch(guided=False)
    pair = {name: x[:2] for name, x in shown.items()}
    apart = {"batch": 0.0, "sample": 0.0}
    for threshold in np.linspace(0.02, 0.4, 12):
        config = {"residual_diff_threshold": threshold, "max_warmup_steps": 2}
        for decide, most in apart.items():
            whole = run("cache_dit", config, decide=decide, **shown)
            fewer = run("cache_dit", config, decide=decide, **pair)
            difference = float(jnp.abs(whole.sample[:2] - fewer.sample).max())
            apart[decide] = max(most, difference)
    assert apart["sample"] < 1e-5
    assert apart["batch"] > 1e-3


def test_it_can_be_jitted_and_a_condition_may_be_shared() -> None:
    """One program inside another; what has no rows is the same for every sample."""

    def push(params: Any, x: jax.Array, t: jax.Array, condition: Any) -> jax.Array:
        del t
        return x * params + condition["each"] * condition["all"]

    shown = {"each": jnp.arange(ROWS, dtype=jnp.float32)[:, None], "all": jnp.ones(2)}
    noise = jnp.ones((ROWS, 2))

    @jax.jit
    def sampled(noise: jax.Array) -> SampleResult:
        return sample(
            jnp.float32(0.5),
            model=push,
            noise=noise,
            condition=shown,
            cache="step_cache",
            decide="sample",
        )

    together = sampled(noise)
    for i in range(ROWS):
        each = shown | {"each": shown["each"][i : i + 1]}
        options = {"noise": noise[i : i + 1], "condition": each, "cache": "step_cache"}
        assert_row(together, sample(jnp.float32(0.5), model=push, **options), i)
    assert (np.asarray(together.stats.model_calls) < 16).all()


def test_a_poisoned_sample_leaves_the_others_alone() -> None:
    """A NaN is flagged in its own row, and in no other."""
    shown = batch(guided=False)
    shown["noise"] = shown["noise"].at[1, 0, 0].set(jnp.nan)
    together = run("step_cache", decide="sample", **shown)
    assert together.stats.nonfinite.tolist() == [False, True, False]
    for i in (0, 2):
        assert_row(together, run("step_cache", **row(shown, i)), i)


@pytest.mark.parametrize("kind", ["text", "function", "object", "flat"])
def test_a_context_may_be_of_any_type(kind: str) -> None:
    """What cannot be taken apart by rows is not: then all rows go through."""

    class Opaque:
        def __init__(self, time: jax.Array) -> None:
            self.time = time

    def embed(weights: Any, x: Any, t: Any, condition: Any) -> Any:
        hidden, time = UNROLLED.embed(weights, x, t, condition)
        context = {
            "text": lambda: {"time": time, "mode": "tanh", "layers": 3},
            "function": lambda: {"time": lambda: time},
            "object": lambda: Opaque(time),
            "flat": lambda: {"time": jnp.repeat(time, 2, axis=0)},
        }
        return hidden, context[kind]()

    def blocks(weights: Any, h: Any, context: Any, start: int, stop: int) -> Any:
        time = context.time if kind == "object" else context["time"]
        time = time() if callable(time) else time
        time = time[::2] if kind == "flat" else time
        return UNROLLED.blocks(weights, h, time, start, stop)

    model = StagedDenoiser(UNROLLED.num_blocks, embed, blocks, UNROLLED.head)
    config, shown = SKIPPING["cache_dit"], batch(guided=False)
    together = run("cache_dit", config, model=model, decide="sample", **shown)
    wanted = run("cache_dit", config, decide="sample", **shown)
    np.testing.assert_array_equal(together.stats.computed, wanted.stats.computed)
    np.testing.assert_allclose(together.sample, wanted.sample, atol=1e-5)


def test_what_a_request_says_takes_the_place_of_what_is_shared() -> None:
    """A schedule for shared steps, a cache for shared settings, a scale of 1."""
    shown = row(batch(guided=True), 0)
    own = {
        "noise": shown["noise"],
        "condition": shown["condition"],
        "schedule": flow_schedule(4, 2.0),
        "cache": step_cache((0.9, 0.6)),
        "guidance_scale": 1.0,
    }
    shared = {
        "model": UNROLLED,
        "num_inference_steps": 8,
        "cache": "step_cache",
        "cache_config": {"velocity_sim_thresholds": (0.99, 0.98)},
        "negative_condition": shown["negative_condition"],
        "guidance_scale": 2.0,
    }
    both = [own, {k: own[k] for k in ("noise", "condition")}]
    ours, other = sample_many(WEIGHTS, both, **shared)
    for result, options in ((ours, own), (other, both[1] | shared)):
        alone = sample(WEIGHTS, **({"model": UNROLLED} | options))
        np.testing.assert_array_equal(result.stats.computed, alone.stats.computed)
        np.testing.assert_allclose(result.sample, alone.sample, atol=1e-5)
    assert len(ours.stats.computed) == 4


def test_each_row_has_its_guidance_scale() -> None:
    """A row's own scale mixes it; a scale of 1 is the conditional branch, exactly."""
    draw = np.random.default_rng(1).normal
    rows = jnp.asarray(draw(size=(4, 5)), jnp.float32)
    each = mix_branches(rows, jnp.asarray([1.0, 3.0]), None)
    np.testing.assert_array_equal(each[0], rows[0])
    np.testing.assert_allclose(each[1], rows[3] + 3 * (rows[1] - rows[3]), rtol=1e-6)


def test_bad_options_are_told() -> None:
    """The nearest name, and what does not go together."""
    with pytest.raises(ValueError, match="Did you mean 'sample'"):
        run("step_cache", decide="samples")
    with pytest.raises(ValueError, match="step of its own"):
        run("step_cache", decide="sample", progress=True)
    shown = row(batch(guided=False), 0)
    with pytest.raises(
        ValueError, match=r"requests\[1\]: the forecast .*Linear.*not Hold"
    ):
        sample_many(
            WEIGHTS,
            [shown, shown | {"forecast": "linear"}],
            model=UNROLLED,
            cache="step_cache",
        )
    for no_list in (shown, 3):
        with pytest.raises(TypeError, match="give a list"):
            sample_many(WEIGHTS, no_list, model=UNROLLED)
    with pytest.raises(TypeError, match="is being traced"):
        jax.jit(lambda x: sample_many(WEIGHTS, [shown | {"noise": x}], model=UNROLLED))(
            shown["noise"]
        )
    with pytest.raises(ValueError, match="slots is 0"):
        sample_many(WEIGHTS, [shown], slots=0, model=UNROLLED)
    mask = static_schedule([True, False])
    with pytest.raises(ValueError, match=r"requests\[0\]: .*the mask has shape"):
        sample_many(WEIGHTS, [shown], model=UNROLLED, cache=mask)
    assert sample_many(WEIGHTS, [], model=UNROLLED) == []
