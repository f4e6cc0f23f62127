"""RoboArena's and DreamZero's messages: an endpoint in each, packed replies."""

import numpy as np
import pytest

from jax_stepcache.serving import ServerSettings
from jax_stepcache.serving.robots.asked import asked as asked_of
from tests.serving.robots.toy import Robot, serving


@pytest.fixture(scope="module")
def url():
    with serving(max_frames=4) as (_, url):
        yield url


def test_a_reply_is_the_packed_array(url):
    """`infer` gives the array alone, `reset` a text; both name their session."""
    with Robot(url) as robot:
        asked = {"endpoint": "infer", "session_id": "first", "x": 4.0}
        first = robot.ask(**asked)
        assert isinstance(first, np.ndarray)
        assert first.dtype == np.float32
        np.testing.assert_array_equal(first, [[1, 4]] * 3)
        assert robot.ask(**asked)[0, 0] == 2
        assert robot.ask(endpoint="reset") == "reset successful"
        assert robot.ask(**asked)[0, 0] == 1


def test_an_id_may_be_an_array_of_one(url):
    """As RoboArena's interface has it; integers do as well."""
    with Robot(url) as robot:
        asked = {"endpoint": "infer", "x": 4.0}
        assert robot.ask(session_id=np.array(["one"]), **asked)[0, 0] == 1
        assert robot.ask(session_id="one", **asked)[0, 0] == 2
        assert robot.ask(session_id=7, **asked)[0, 0] == 1
    for given in (np.array(["one"]), np.array("one"), np.str_("one")):
        seen = asked_of({"session_id": given}, ServerSettings(), {}).message
        assert seen == {"session_id": "one"}  # policies read no other kind


def test_a_reset_of_one_session_leaves_the_others(url):
    """The original has one session for all; here each robot has its own."""
    with Robot(url) as a, Robot(url) as b:
        for robot, name in ((a, "a"), (b, "b")):
            robot.ask(endpoint="infer", session_id=name, x=1.0)
        a.ask(endpoint="reset")
        assert a.ask(endpoint="infer", session_id="a", x=1.0)[0, 0] == 1
        assert b.ask(endpoint="infer", session_id="b", x=1.0)[0, 0] == 2
        assert b.ask(endpoint="reset", session_id="nobody") == "reset successful"


def test_what_the_server_reads_of_a_message_is_named_in_errors(url):
    """Endpoint, id and options: the nearest right name, and the session goes on."""
    with Robot(url) as robot:
        for asked, words in (
            ({"endpoint": "infr"}, "Did you mean 'infer'?"),
            ({"endpoint": np.array(["infer", "reset"])}, "'endpoint' is"),
            ({"endpoint": np.zeros(0)}, "'endpoint' is"),
            ({"session_id": ""}, "'session_id' is ''"),
            ({"session_id": "x" * 200}, "'session_id'"),
            ({"session_id": 0.5}, "'session_id' is 0.5; send text, a whole"),
            ({"options": 3}, "'options' is 3"),
            ({"options": {"num_inference_step": 3}}, "Did you mean 'num_inference_ste"),
            ({"options": {"num_inference_steps": 30}}, "num_inference_steps is 30"),
            ({"options": {"deadline": -1}}, "'deadline' is -1"),
            ({"options": {"deadline": "soon"}}, "'deadline' is 'soon'"),
            ({"options": {"stats": 2}}, "'stats' is 2"),
            ({"seen": np.zeros((5, 2, 2, 3), np.uint8)}, "'seen' has 5 frames"),
        ):
            told = robot.ask(x=1.0, **asked)
            assert told["error"] == "bad_request"
            assert words in told["message"]
            assert told["request_id"]
        assert robot.ask(x=1.0)["actions"][0, 0] == 1


def test_steps_are_a_requests_own_and_stats_tell(url):
    """What it cost comes with the reply, where it is asked for."""
    with Robot(url) as robot:
        said = robot.ask(x=1.0, options={"num_inference_steps": 5, "stats": True})
        stats = said["stats"]
        assert (stats["model_calls"], stats["steps"], stats["together"]) == (3, 5, 1)
        assert stats["computed"] == [True, False, True, False, True]
        assert stats["queue_ms"] >= 0
        assert "stats" not in robot.ask(x=1.0)
