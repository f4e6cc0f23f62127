"""A robot's message in, actions out: alone, together, cached, over a socket."""

import copy
import pickle
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

import jax_stepcache
from jax_stepcache.models import pi0
from jax_stepcache.models.pi0.policy import Pi0Policy
from jax_stepcache.models.pi0.robot.message import message_in_words, read
from jax_stepcache.models.pi0.tiny import write_tiny
from jax_stepcache.requests.at_once import sampled_at_once
from jax_stepcache.serving.robots.opening import check_policy
from jax_stepcache.serving.robots.policy import Policy

pytest.importorskip("sentencepiece")


def message(seed=0, **changed):
    rng = np.random.default_rng(seed)
    sent = {
        "observation/exterior_image_1_left": rng.integers(
            0, 256, (45, 80, 3), np.uint8
        ),
        "observation/wrist_image_left": rng.integers(0, 256, (56, 56, 3), np.uint8),
        "observation/joint_position": rng.normal(size=7),
        "observation/gripper_position": rng.uniform(size=1),
        "prompt": "pick up the red block",
    }
    return {key: x for key, x in {**sent, **changed}.items() if x is not None}


@pytest.fixture(scope="module", params=[False, True], ids=["pi0", "pi05"])
def pipeline(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pi0") / "tiny"
    write_tiny(folder, pi05=request.param)
    return pi0.Pi0Pipeline.from_folder(folder)


def test_what_is_sampled_comes_back_in_the_robots_units(pipeline):
    """As many actions as the network says, of as many components as it has."""
    step = pipeline(message())
    assert step.actions.shape == (6, 8)
    assert step.stats.model_calls == 10
    _, shown = pipeline._one(message())
    sample = jax_stepcache.sample(pipeline.params, observation=shown).sample
    units = pipeline.statistics.actions.in_units(np.asarray(sample[0]))[:, :8]
    np.testing.assert_allclose(step.actions, units, atol=1e-5)


def test_words_state_and_pictures_matter(pipeline):
    """Each of them changes the actions; a key that is not the robot's does not."""
    usual = pipeline(message()).actions
    np.testing.assert_array_equal(pipeline(message(other=3)).actions, usual)
    white = np.full((45, 80, 3), 255, np.uint8)
    for changed in (
        {"prompt": "open the drawer"},
        {"observation/gripper_position": np.array([-2.0])},
        {"observation/exterior_image_1_left": white},
    ):
        assert np.abs(pipeline(message(**changed)).actions - usual).max() > 1e-4


def test_relative_actions_are_added_to_the_state(pipeline):
    """Those of the joints, not the gripper's."""
    usual, own = pipeline(message()).actions, pipeline.robot
    given = message()
    other = pi0.Robot(
        "mine", own.cameras, own.state, own.state_width, own.actions, 7, 7
    )
    moved = pi0.Pi0Pipeline(
        pipeline.params,
        statistics=pipeline.statistics,
        words=pipeline.words,
        robot=other,
    )(given).actions
    joints = np.asarray(given["observation/joint_position"], np.float32)
    np.testing.assert_allclose(moved[:, :7], usual[:, :7] + joints, atol=1e-5)
    np.testing.assert_array_equal(moved[:, 7:], usual[:, 7:])


def test_differences_may_be_marked_one_by_one():
    """ALOHA's two arms say joints as differences, and their grippers not."""
    mask = (*[True] * 6, False, *[True] * 6, False)
    own = {"state_width": 14, "actions": 14, "relative": mask}
    robot = replace(pi0.ROBOTS["droid"], **own)
    assert robot.differences(False).tolist() == [*range(6), *range(7, 13)]
    assert robot.differences(True).tolist() == []
    assert pi0.ROBOTS["libero"].differences(False).tolist() == list(range(6))
    for given in (True, "6", [1, 0], 1.5):
        with pytest.raises(TypeError, match="give how many, or a row of bools"):
            replace(robot, relative=given)
    with pytest.raises(ValueError, match="at most 8 can be differences"):
        replace(pi0.ROBOTS["droid"], relative=mask)


def test_copies_answer_as_the_pipeline_does(pipeline):
    """A copy is whole; a file is refused in words, and says what to keep."""
    other = copy.deepcopy(pipeline)
    assert other.robot == pipeline.robot
    given = {"num_inference_steps": 2}
    same = other(message(), **given).actions
    np.testing.assert_array_equal(same, pipeline(message(), **given).actions)
    with pytest.raises(TypeError, match=r"keep the folder, and read it again"):
        pickle.dumps(pipeline)


def test_a_folders_options_are_named(tmp_path):
    """Before anything is read."""
    with pytest.raises(TypeError, match="Did you mean 'cache_backend'"):
        pi0.Pi0Pipeline.from_folder(tmp_path, cache="step_cache")  # pyright: ignore


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cache", "config"),
    [
        ("step_cache", {"velocity_sim_thresholds": (0.0, -1.0)}),
        ("static", {"steps_mask": [i in (0, 3, 6) for i in range(10)]}),
        ("cache_dit", {"residual_diff_threshold": 0.5, "max_warmup_steps": 1}),
        ("first_block_cache", {"threshold": 10.0}),
        ("taylor_seer", {"cache_interval": 3}),
        ("tea_cache", {"coefficients": (0, 0, 0, 1, 0), "rel_l1_thresh": 2.0}),
    ],
)
def test_caches_skip_the_action_expert(pipeline, cache, config):
    """Alone as together, with the same decisions."""
    if pipeline.model.config.pi05 and cache not in ("cache_dit", "tea_cache"):
        pytest.skip("around the network, both are alike")
    alone = [pipeline(message(i), cache=cache, cache_config=config) for i in range(2)]
    together = pipeline.step_many(
        [message(i) for i in range(2)], cache=cache, cache_config=config
    )
    for one, other in zip(alone, together, strict=True):
        assert 0 < one.stats.model_calls < 10
        np.testing.assert_array_equal(
            np.asarray(one.stats.computed).ravel(),
            np.asarray(other.stats.computed).ravel(),
        )
        np.testing.assert_allclose(one.actions, other.actions, atol=2e-4)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"prompt": None}, r"lacks 'prompt'\. Got"),
        ({"prompt": None, "promt": "go"}, r"There is 'promt': is that it\?"),
        ({"prompt": 3}, "'prompt' is 3; send text"),
        ({"observation/wrist_image_left": None}, "lacks 'observation/wrist_image_le"),
        ({"observation/wrist_image_left": np.zeros((4, 4))}, r"is float64\[4, 4\]"),
        ({"observation/wrist_image_left": [[1], [1, 2]]}, "'observation/wrist_image"),
        ({"observation/joint_position": np.zeros(6)}, "have 7 numbers; a droid has 8"),
        ({"observation/gripper_position": np.array([np.nan])}, "not finite"),
        ({"observation/gripper_position": "open"}, "send a few numbers"),
    ],
)
def test_messages_that_do_not_fit(changed, words):
    """The key is named, whoever of several sent it."""
    with pytest.raises((ValueError, TypeError), match=words):
        read(pi0.ROBOTS["droid"], message(**changed))


@pytest.mark.parametrize("name", sorted(pi0.ROBOTS))
def test_each_key_of_a_message_is_said_in_words(name):
    """Those that are read, and no others."""
    robot = pi0.ROBOTS[name]
    said = message_in_words(robot)
    assert said.keys() == {*robot.cameras.values(), *robot.state, "prompt"}
    assert str(robot.state_width) in said[robot.state[0]]


def test_liberos_actions_are_displacements_by_pi0_alone():
    """As openpi's configurations have it; nor does pi0.5's prompt say the state."""
    robot = pi0.ROBOTS["libero"]
    assert (robot.relative, robot.relative_pi05, robot.says_state) == (6, 0, False)
    droid = pi0.ROBOTS["droid"]
    assert (droid.relative, droid.relative_pi05, droid.says_state) == (0, 0, True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cameras": {"base": "x"}}, "base_0_rgb"),
        ({"state": ()}, "has no state"),
        ({"relative": 9}, "at most 8 can be differences"),
    ],
)
def test_a_robot_that_does_not_fit_is_told(changed, words):
    """When it is made, not after sampling."""
    with pytest.raises(ValueError, match=words):
        replace(pi0.ROBOTS["droid"], **changed)


def test_lists_of_other_lengths_are_told(pipeline):
    """Before anything is sampled."""
    with pytest.raises(ValueError, match="keys has 1 entries for 2 messages"):
        pipeline.step_many([message(), message()], keys=[None])


def test_another_robots_statistics_are_not_taken(tmp_path):
    """They would move an arm wrongly."""
    write_tiny(tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"of \['droid'\], and none of 'libero'"):
        pi0.Pi0Pipeline.from_folder(tmp_path / "tiny", robot="libero")
    with pytest.raises(ValueError, match="none of 'libero'"):
        pi0.load_policy(tmp_path / "tiny", embodiment="libero")
    with pytest.raises(ValueError, match="no guidance; leave out"):
        pi0.load_policy(tmp_path / "tiny", guidance_scale=3.0)


def test_a_cache_of_guidance_is_not_served(tmp_path):
    """Refused before weights are read: it would do nothing, and say so in a log."""
    folder = write_tiny(tmp_path / "tiny")
    with pytest.raises(ValueError, match="pi0 is served without guidance, so there is"):
        check_policy(folder, cache_backend="cfg_cache")
    check_policy(folder, cache_backend="step_cache")


def test_step_cache_is_enabled_by_name(pipeline):
    """As the command to serve does it."""
    ours = {"statistics": pipeline.statistics, "words": pipeline.words}
    made = pi0.Pi0Pipeline(pipeline.params, cache_backend="step_cache", **ours)
    assert made.cache_backend.is_enabled()


def test_a_default_prompt_is_for_who_sends_none():
    """And for nobody else."""
    robot = pi0.ROBOTS["droid"]
    assert read(robot, message(prompt=None), "wait").prompt == "wait"
    assert read(robot, message(prompt="go"), "wait").prompt == "go"


def test_a_robot_is_served(pipeline):
    """A policy of openpi's messages: every request alike, each as if alone."""
    policy = pi0.policy_of(pipeline)
    assert isinstance(policy, Policy)
    assert policy.metadata["action_horizon"] == 6
    (examples,) = policy.examples(2)
    policy.step_many([0, 0], examples, [{}, {}])
    asked = [{}, {"num_inference_steps": 4}]
    both = policy.step_many([3, 5], [message(1), message(2)], asked)
    assert [reply.session for reply in both] == [4, 6]
    assert [int(reply.computed.sum()) for reply in both] == [10, 4]
    (alone,) = policy.step_many([5], [message(2)], [asked[1]])
    np.testing.assert_allclose(both[1].actions, alone.actions, atol=1e-5)
    assert policy.check(0, message(), {}) == "45 x 80, 56 x 56"
    assert policy.film(0).shape == (0, 56, 56, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("most", "other"), [(10, 9), (12, 12)])
def test_no_number_of_steps_makes_others_wait_for_the_compiler(pipeline, most, other):
    """With a cache inside the network, too, whose longest run is another program."""
    pipeline = pi0.Pi0Pipeline(
        pipeline.params,
        statistics=pipeline.statistics,
        words=pipeline.words,
        cache_backend="tea_cache",
    )
    policy = Pi0Policy(pipeline, most_steps=most)
    assert policy.variants == [{"num_inference_steps": other}]
    (seen,) = policy.examples(1)
    for one in ({}, *policy.variants):
        policy.step_many([0], seen, [one])
    programs = sampled_at_once._cache_size()
    for steps in (3, 4, most):
        policy.step_many([0], seen, [{"num_inference_steps": steps}])
    assert sampled_at_once._cache_size() == programs


def test_sessions_are_kept(pipeline, tmp_path):
    """As numbers of steps."""
    policy = pi0.policy_of(pipeline)
    policy.save(tmp_path, 7)
    assert policy.load(tmp_path) == 7
    (tmp_path / "steps.json").write_text('"seven"')
    with pytest.raises(ValueError, match="no session of a pi0"):
        policy.load(tmp_path)


def test_what_does_not_fit_the_model_is_told_at_once(pipeline, tmp_path):
    """Statistics of the other kind, words of another length, other params."""
    ours = {"statistics": pipeline.statistics, "words": pipeline.words}
    kind = pipeline.statistics.state._replace(
        quantiles=not pipeline.statistics.state.quantiles
    )
    for changed, words in (
        ({"statistics": pipeline.statistics._replace(state=kind)}, "the other kind"),
        ({"words": pi0.Words(lambda *_: [], 3, False)}, "words make 3 tokens"),
        ({"robot": "droit"}, "droid"),
    ):
        with pytest.raises(ValueError, match=words):
            pi0.Pi0Pipeline(pipeline.params, **{**ours, **changed})
    with pytest.raises(TypeError, match="give those of a pi0"):
        pi0.Pi0Pipeline(jax_stepcache.load_params("dit"), **ours)
    with pytest.raises(FileNotFoundError, match="paligemma_tokenizer"):
        pi0.load_words(tmp_path, 8, with_state=False)


def test_a_folder_of_ours_is_read_with_what_is_copied_into_it(pipeline, tmp_path):
    """Weights alone move no arm: what is missing is told, and where to put it."""
    write_tiny(tmp_path / "tiny", pi05=pipeline.model.config.pi05)
    ours = tmp_path / "ours"
    jax_stepcache.save_params(ours, pipeline.params)
    with pytest.raises(FileNotFoundError, match="paligemma_tokenizer"):
        pi0.Pi0Pipeline.from_folder(ours)
    tokenizer = tmp_path / "tiny" / "paligemma_tokenizer.model"
    with pytest.raises(FileNotFoundError, match="'assets' into it"):
        pi0.Pi0Pipeline.from_folder(ours, tokenizer=tokenizer)
    shutil.copytree(tmp_path / "tiny" / "assets", ours / "assets")
    shutil.copy(tokenizer, ours)
    again = pi0.Pi0Pipeline.from_folder(ours)
    assert again.model == pipeline.model
    for own, read_in in zip(pipeline.statistics, again.statistics, strict=True):
        np.testing.assert_array_equal(own.low, read_in.low)


@pytest.mark.slow
def test_openpis_client_is_answered(pipeline):
    """Over a socket, with the reply that the pipeline gives."""
    client = pytest.importorskip("openpi_client.websocket_client_policy")
    pytest.importorskip("uvicorn")
    from jax_stepcache.serving import policy_server

    server = policy_server(pipeline, slots=1)
    with server.background() as url:
        server.wait_until_ready()
        robot = client.WebsocketClientPolicy("127.0.0.1", int(url.rsplit(":", 1)[1]))
        assert robot.get_server_metadata()["robot"] == "droid"
        answered = robot.infer(message(4))
    np.testing.assert_allclose(
        answered["actions"], pipeline(message(4)).actions, atol=1e-5
    )


def test_a_tiny_one_needs_its_extra(monkeypatch, tmp_path):
    """Named, and nothing is left of the folder."""
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match=r"pip install 'jax-stepcache\[prompts\]'"):
        write_tiny(tmp_path / "tiny")
    assert not list(tmp_path.iterdir())
