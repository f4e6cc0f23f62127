"""The tabletop served: each robot as if alone, sessions on disk, requests as data."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from jax_stepcache.models.dreamzero import DreamZeroPipeline
from jax_stepcache.models.tabletop import TabletopModel, load_policy, policy_of
from jax_stepcache.models.tabletop.model import tabletop_config
from jax_stepcache.models.worlds import message as messages
from jax_stepcache.serving.robots.policy import Policy

MODEL = TabletopModel(tabletop_config())
CONFIG = {"velocity_sim_thresholds": [0.97], "velocity_skip_countdowns": [3]}


def read(sent):
    return messages.read(MODEL, sent)


def message(seed=0, frames=2, **changed):
    rng = np.random.default_rng(seed)
    sent = {
        "observation/image": rng.integers(0, 256, (frames, 32, 32, 3), np.uint8),
        "observation/state": rng.uniform(0, 1, 2).astype(np.float32),
        "prompt": "Reach the green block.",
    }
    sent |= {
        key if key == "prompt" else f"observation/{key}": x
        for key, x in changed.items()
    }
    return {key: value for key, value in sent.items() if value is not None}


@pytest.fixture(scope="module")
def policy():
    return load_policy("tabletop", cache_backend="step_cache", cache_config=CONFIG)


def _walk(policy, seeds):
    session = policy.open()
    for seed in seeds:
        (reply,) = policy.step_many([session], [message(seed)], [{}])
        session = reply.session
    return session


def _copies(policy, session, folder, count):
    """Through a file: a step gives its session away."""
    folder.mkdir()
    policy.save(folder, session)
    return [policy.load(folder) for _ in range(count)]


@pytest.mark.slow
def test_robots_together_are_each_as_if_alone(policy, tmp_path):
    """Own place in the window, prompt and options; and a saved session goes on as the
    one that was saved."""
    walks = [_walk(policy, range(n)) for n in (0, 2)]
    pairs = [
        _copies(policy, walk, tmp_path / str(i), 2) for i, walk in enumerate(walks)
    ]
    seen = [message(7), message(8, prompt="go to RED")]
    asked = [
        {"num_inference_steps": 9},
        {"cache_config": {"velocity_sim_thresholds": [-1.0]}, "guidance_scale": 1.5},
    ]
    alone = [
        policy.step_many([pair[0]], [one], [own])[0]
        for pair, one, own in zip(pairs, seen, asked, strict=True)
    ]
    together = policy.step_many([pair[1] for pair in pairs], seen, asked)
    for ours, wanted in zip(together, alone, strict=True):
        assert ours.computed.tolist() == wanted.computed.tolist()
        np.testing.assert_allclose(ours.actions, wanted.actions, atol=1e-5)
        assert ours.session.steps == wanted.session.steps
    assert [len(one.computed) for one in together] == [9, 16]
    assert policy.film(together[1].session).shape == (2, 32, 32, 3)
    direct = policy.step_many(walks[1:], seen[1:], asked[1:])[0]
    np.testing.assert_array_equal(direct.actions, alone[1].actions)


@pytest.mark.slow
def test_no_request_compiles(policy):
    """Whatever it may ask for is data of the program that serves all."""
    session = _walk(policy, range(3))
    compiled = []

    def listen(event, seconds, **_):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    for own in (
        {"num_inference_steps": 3},
        {"cache_config": {"velocity_skip_countdowns": [5]}},
        {"guidance_scale": 7.0, "num_inference_steps": 16},
    ):
        (reply,) = policy.step_many([session], [message(1, frames=1)], [own])
        session = reply.session
    assert not compiled
    jax.jit(lambda x: x + 41)(1.0)
    assert compiled  # or nothing was listened to
    jax.monitoring.unregister_event_duration_listener(listen)


def test_it_is_a_policy(policy):
    """And says in words what a request may ask for."""
    assert isinstance(policy, Policy)
    assert policy.options.keys() == {
        "num_inference_steps",
        "cache_config",
        "guidance_scale",
    }
    tuned = load_policy("tabletop", cache_backend="tuned", cache_config={"budget": 5})
    # Tables have steps of their own: those of other calls stand in no mask's place.
    told = tuned.options["budget"].removeprefix("network calls, one of ").split(", ")
    assert {5, 6} <= set(map(int, told)) <= {3, 4, 5, 6, 8}
    assert "num_inference_steps" not in tuned.options
    for budget in (1, 7):
        with pytest.raises(ValueError, match=f"budget is {budget}; this server takes"):
            tuned.check(tuned.open(), message(), {"budget": budget})
    assert policy_of(policy._pipeline).options == policy.options


def test_it_says_why_an_option_is_not_taken(policy):
    """In the words of its cache; and of each key of a message what it holds."""
    assert policy.unavailable.keys() == {"budget"}
    assert "cache ('step_cache')" in policy.unavailable["budget"]
    settings = {"cache_backend": "tuned", "cache_config": {"budget": 5}}
    tuned = load_policy("tabletop", guidance_scale=1.0, **settings)
    assert tuned.unavailable.keys() == {
        "num_inference_steps",
        "cache_config",
        "guidance_scale",
    }
    bare = load_policy("tabletop", cache_backend="none")
    assert bare.unavailable["cache_config"] == "here, without a cache"
    assert policy.message.keys() == set(policy.metadata["keys"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state": None}, r"lacks 'observation/state'\. Got"),
        (
            {"image": None, "imag": 0, "foo": 0},
            "lacks 'observation/image'. There is 'observation/imag': is that it",
        ),
    ],
)
def test_a_missing_key_is_sought_among_those_that_nobody_reads(changed, words):
    """What is there and right was not meant for another."""
    with pytest.raises(ValueError, match=words):
        read(message(**changed))


@pytest.mark.slow
@pytest.mark.parametrize("cache", ["tuned", "bespoke"])
def test_each_request_makes_the_calls_of_its_budget(cache):
    """Beside others as alone: a mask or a table of each, in one program."""
    policy = load_policy("tabletop", cache_backend=cache, cache_config={"budget": 4})
    told = policy.options["budget"].removeprefix("network calls, one of ").split(", ")
    asked = [{}, *({"budget": int(one)} for one in told)]
    seen = [message(i) for i in range(len(asked))]
    together = policy.step_many([policy.open() for _ in asked], seen, asked)
    assert [int(one.computed.sum()) for one in together] == [4, *map(int, told)]
    for ours, one, own in zip(together, seen, asked, strict=True):
        (alone,) = policy.step_many([policy.open()], [one], [own])
        np.testing.assert_allclose(ours.actions, alone.actions, atol=1e-5)


def test_a_cache_that_cannot_serve_is_told_when_the_policy_is_made(policy):
    """Not by the first step, behind an open port."""
    weights = policy._pipeline.params
    for config, words in (
        (None, "needs a budget"),
        ({"budget": 7}, "schedule of 7 model"),
    ):
        pipeline = DreamZeroPipeline(
            weights, cache_backend="tuned", cache_config=config
        )
        with pytest.raises(ValueError, match=words):
            policy_of(pipeline)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_inference_steps": 17}, "at most 16"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
        ({"guidance_scale": 1.0}, "guidance_scale is 1"),
        ({"guidance_scale": np.inf}, "guidance_scale is inf"),
        ({"guidance_scale": 1e30}, "guidance_scale is 1e\\+30"),
        ({"guidance_scale": -101}, "guidance_scale is -101"),
        ({"cache_config": {"velocity_sim_threshold": [0.9]}}, "Did you mean"),
        ({"cache_config": {"rel_l1_thresh": 0.9}}, "unknown threshold"),
        (
            {
                "cache_config": {
                    "velocity_sim_thresholds": [0.9, 0.8],
                    "velocity_skip_countdowns": [3, 2],
                }
            },
            "would be another program",
        ),
        ({"cache_config": {"velocity_sim_thresholds": [np.nan]}}, "velocity_sim_thr"),
    ],
)
def test_what_a_request_may_not_ask_is_named(policy, options, words):
    """Above all what would compile: no robot makes others wait for that."""
    with pytest.raises(ValueError, match=words):
        policy.check(policy.open(), message(), options)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"image": None}, "lacks 'observation/image'"),
        ({"image": np.zeros((32, 32), np.uint8)}, "'observation/image' has shape"),
        ({"image": np.zeros((0, 32, 32, 3), np.uint8)}, "'observation/image' has sha"),
        ({"image": np.zeros((32, 32, 3), int)}, "'observation/image' has dtype"),
        ({"image": np.full((32, 32, 3), np.nan)}, "'observation/image' has floats"),
        ({"image": np.full((32, 32, 3), 255.0)}, "'observation/image' has floats"),
        ({"state": np.zeros(3)}, "'observation/state'"),
        ({"state": np.array([0.1, np.inf])}, "'observation/state'"),
        ({"state": np.array(["a", "b"])}, "'observation/state'"),
        ({"state": np.array([-128, 0], np.int8)}, "'observation/state' is"),
        ({"state": np.array([0, -(2**63)])}, "'observation/state' is"),
        ({"state": [1, [2]]}, "'observation/state' is"),
        ({"image": [[1], [1, 2]]}, "'observation/image' is"),
        ({"prompt": "go there"}, "'prompt' is 'go there'"),
        ({"prompt": "red or green"}, "'prompt' is 'red or green'"),
        ({"prompt": "colored"}, "'prompt' is 'colored'"),
    ],
)
def test_what_is_wrong_with_a_message_is_named(changed, words):
    with pytest.raises(ValueError, match=words):
        read(message(**changed))


def test_a_message_may_hold_one_picture_or_several():
    """As floats or as bytes, the same."""
    whole = read(message(frames=3))
    assert whole.frames.shape == (3, 32, 32, 3)
    assert whole.instruction == 1
    one = message()["observation/image"][0]
    same = [read(message(image=x)).frames for x in (one, one / np.float32(255))]
    np.testing.assert_allclose(same[0], same[1], atol=1e-7)
    assert read(message(prompt=np.array("reach green"))).instruction == 1
    with pytest.raises(TypeError, match="'prompt' is 3"):
        read(message(prompt=3))


_NUMBERS = some.none() | some.booleans() | some.integers() | some.floats()
_ANYTHING = some.recursive(
    _NUMBERS
    | some.text(max_size=5)
    | some.binary(max_size=5)
    | arrays.arrays(
        some.sampled_from(["?", "i1", "<i8", "<u8", "<f2", "<f4", "<f8", "<U2"]),
        arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
    ),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=5,
)
_KEYS = ("observation/image", "observation/state", "prompt")
_OPTIONS = ("num_inference_steps", "guidance_scale", "cache_config")
_THRESHOLDS = ("velocity_sim_thresholds", "velocity_skip_countdowns")


def _refusal(policy, sent, options):
    try:
        policy.check(policy.open(), sent, options)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(key=some.sampled_from((*_KEYS, *_OPTIONS, *_THRESHOLDS)), value=_ANYTHING)
def test_whatever_a_robot_sends_is_told_by_its_key(policy, key, value):
    """Or it fits, and then its numbers are such as a step may be given."""
    sent, options = message(), {}
    if key in _KEYS:
        sent[key] = value
    elif key in _OPTIONS:
        options[key] = value
    else:
        options["cache_config"] = {key: value}
    told = _refusal(policy, sent, options)
    if told is not None:
        # Of a map, what it holds may be what does not fit.
        assert key in told or (key == "cache_config" and "threshold" in told)
        return
    if key in _KEYS:
        seen = read(sent)
        assert np.abs(seen.state).max() <= 2
        assert np.isfinite(seen.frames).all()
    scale = options.get("guidance_scale")
    assert scale is None or abs(scale) <= 100
