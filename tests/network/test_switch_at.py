"""Two networks in one loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax_stepcache import (
    StagedDenoiser,
    SwitchAt,
    adapt,
    compose,
    db_cache,
    explicit_schedule,
    sample,
    switching,
    tea_cache,
)
from jax_stepcache.policy.gates import Every
from tests.jaxprs import primitives
from tests.network.adapting import strangers

SCHEDULE = explicit_schedule(np.linspace(1, 0, 9))
BLOCKS = {"blocks": lambda n: n.blocks, "modulated": lambda block: block.attn1}
HIGH, LOW = (
    adapt(strangers.WanLike(nnx.Rngs(seed), depth=depth), **BLOCKS)
    for seed, depth in ((0, 3), (1, 4))
)
WEIGHTS = {"high": HIGH[0], "low": LOW[0]}
BOTH = SwitchAt.at_step(HIGH[1], LOW[1], 3, SCHEDULE)


def run(weights, model, **more):
    given = {"condition": strangers.text(), "schedule": SCHEDULE, "solver": "euler"}
    given |= {"noise": strangers.noise()}
    return sample(weights, model=model, **(given | more))


def halves(first, second, **more):
    """Both networks, each in a loop of its own."""
    sigmas = np.asarray(SCHEDULE.sigmas)
    parts = [explicit_schedule(x) for x in (sigmas[:4], sigmas[3:])]
    a = run(*HIGH, cache=first, schedule=parts[0], **more)
    b = run(*LOW, cache=second, schedule=parts[1], noise=a.sample, **more)
    computed = np.concatenate([a.stats.computed, b.stats.computed])
    return computed, b.sample


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (db_cache(0.3, warmup_steps=1), db_cache(0.9, warmup_steps=1)),
        pytest.param(
            compose(gate=Every(2), span=tea_cache().span),
            tea_cache(0.35),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_loop_is_two_loops(first, second):
    """Each network with its own policy decides and samples as in a loop of its own."""
    computed, end = halves(first, second)
    found = run(WEIGHTS, BOTH, cache=switching(first, second, BOTH.sigma))
    np.testing.assert_array_equal(found.stats.computed, computed)
    np.testing.assert_allclose(found.sample, end, atol=1e-5)
    assert not computed[:3].all()
    assert not computed[3:].all()


@pytest.mark.slow
def test_backends_settings_are_each_networks_own():
    """High computes all of its steps; low one, and one more after three skipped."""
    own = {"Fn_compute_blocks": 1, "max_warmup_steps": 1}
    config = {**own, "high": {"residual_diff_threshold": 0.0}}
    config |= {"low": {"residual_diff_threshold": 9.0}}
    found = run(WEIGHTS, BOTH, cache="cache_dit", cache_config=config)
    assert np.flatnonzero(found.stats.computed).tolist() == [0, 1, 2, 3, 7]


def test_any_two_networks_go_without_stages():
    """Functions of nothing in common; a network that nobody asks is not run."""
    weights = {"high": jnp.float32(2.0), "low": jnp.float32(-1.0)}
    both = SwitchAt(lambda w, x, t, c: w * x, lambda w, x, t, c: w + 0 * x, 0.5)
    x = jnp.ones((2, 3))
    said = both(weights, x, jnp.asarray([500.0, 499.0]), None)
    np.testing.assert_array_equal(said, [[2.0] * 3, [-1.0] * 3])
    assert primitives(both, weights, x, jnp.ones(2), None)["cond"] == 2
    found = run(weights, both, condition=None, noise=x)
    # Levels of 1 to 1/2 go by 2 x, the others by -1: each step is of 1/8.
    wanted = (1 - 2 / 8) ** 5 + 3 / 8
    np.testing.assert_allclose(found.sample, np.full((2, 3), wanted), rtol=1e-6)


def test_bad_input():
    """What came, and what is wanted."""
    with pytest.raises(TypeError, match="low is 3; it must be a network"):
        SwitchAt(HIGH[1], 3, 0.5)
    with pytest.raises(TypeError, match="Did you mean 'sigma'"):
        SwitchAt(HIGH[1], LOW[1], boundary=0.5)  # pyright: ignore
    with pytest.raises(ValueError, match="sigma"):
        SwitchAt(HIGH[1], LOW[1], 875.0)
    with pytest.raises(ValueError, match="1 to 7"):
        SwitchAt.at_step(HIGH[1], LOW[1], 8, SCHEDULE)
    with pytest.raises(TypeError, match=r"high takes \(p, x\), and is called as high"):
        SwitchAt(lambda p, x: x, LOW[1], 0.5)  # pyright: ignore
    with pytest.raises(TypeError, match="schedule is 8; give the schedule"):
        SwitchAt.at_step(HIGH[1], LOW[1], 3, 8)  # pyright: ignore
    with pytest.raises(ValueError, match=r"networks\[low\]: .*18 arrays, 22 are wan"):
        run({"high": HIGH[0], "low": HIGH[0]}, BOTH, cache="cache_dit")
    with pytest.raises(ValueError, match=r"networks\[high\]: .*condition= may be what"):
        run(WEIGHTS, BOTH, cache=None, condition=None)
    bare = adapt(strangers.WanLike(nnx.Rngs(0)), blocks=lambda n: n.blocks)[1]
    with pytest.raises(
        ValueError, match=r"low, Adapted, lacks it: adapt\(.*modulated="
    ):
        run(WEIGHTS, SwitchAt(HIGH[1], bare, 0.5), cache="tea_cache")
    with pytest.raises(ValueError, match="'high' and 'low'; got"):
        run(HIGH[0], BOTH)
    wide = StagedDenoiser(
        1,
        lambda w, x, t, c: (jnp.ones((2, 4, 99)), ()),
        lambda w, h, c, a, b: h,
        lambda w, h, c: h[..., :3],
    )
    with pytest.raises(ValueError, match="one memory for both"):
        run(
            {"high": HIGH[0], "low": ()},
            SwitchAt(HIGH[1], wide, 0.5),
            cache="mag_cache",
            cache_config={"mag_ratios": [1.0] * 8},
        )
    plain = SwitchAt(lambda w, x, t, c: x, lambda w, x, t, c: x, 0.5)
    weights = jax.tree.map(jnp.ones, {"high": 1, "low": 1})
    with pytest.raises(ValueError, match="lacks num_blocks"):
        run(weights, plain, cache="taylor_seer", cache_config={"cache_interval": 3})


@pytest.mark.parametrize("one", ["high", "low"])
def test_settings_of_one_network_are_told_with_its_name(one):
    """Which of the two has what is no setting."""
    with pytest.raises(TypeError, match=rf"cache_config\[{one}\]: .* is 3; give a map"):
        run(WEIGHTS, BOTH, cache="cache_dit", cache_config={one: 3})
    with pytest.raises(ValueError, match=rf"cache_config\[{one}\]: .*Did you mean"):
        run(WEIGHTS, BOTH, cache="cache_dit", cache_config={one: {"Fn_compute": 1}})
