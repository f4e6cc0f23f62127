"""Who has a session: whoever took a step of it, and is not idle for too long."""

from __future__ import annotations

import pytest

from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.sessions import Sessions
from tests.serving.robots.toy import Counting, Robot, serving, until


@pytest.fixture
def robots():
    opened = []

    def open_many(url, count):
        some = [Robot(url) for _ in range(count)]
        opened.extend(some)
        return some

    yield open_many
    for robot in opened:
        robot.close()


def _stepped(sessions, name):
    """A session whose step was taken, and whose request has not ended yet."""
    held = sessions.get(name, list)
    sessions.admit(held)
    held.begun = True
    return held


def test_a_request_that_is_refused_leaves_no_session(robots):
    """And takes nobody's place, however many ids it comes under."""
    with serving(max_sessions=2, idle_at_least=0.0) as (server, url):
        good, bad, new = robots(url, 3)
        for _ in range(2):
            good.ask(x=1.0, session_id="good")
        for i in range(4):
            assert bad.ask(session_id=f"junk{i}")["error"] == "bad_request"
            late = bad.ask(x=1.0, do="refuse", session_id="late")
            assert late["error"] == "bad_request"
        assert [held.name for held in server.service.sessions] == ["good"]
        assert new.ask(x=1.0, session_id="new")["actions"][0, 0] == 1
        assert good.ask(x=1.0, session_id="good")["actions"][0, 0] == 3
        assert bad.ask(x=1.0)["actions"][0, 0] == 1


def test_a_full_queue_leaves_no_session(robots):
    """Whoever is told to come again has taken no place meanwhile."""
    policy = Counting()
    with serving(policy, max_sessions=3, slots=1, capacity=1) as (server, url):
        first, second, third = robots(url, 3)
        first.send(x=1.0, do="wait")
        assert policy.held.wait(300)
        second.send(x=1.0)
        until(lambda: server.service.worker.waiting() == 1)
        for i in range(4):
            assert "requests wait" in third.ask(x=1.0, session_id=f"{i}")["message"]
        policy.hold.set()
        for robot in (first, second):
            assert robot.hear()["actions"][0, 0] == 1
        assert third.ask(x=1.0)["actions"][0, 0] == 1
        assert len(server.service.sessions) == 3


def test_two_that_come_for_one_place_are_told_apart(robots):
    """The first takes it; the other is told to come again, at its turn."""
    policy = Counting()
    with serving(policy, max_sessions=2, slots=4) as (server, url):
        first, *others = robots(url, 3)
        first.send(x=1.0, do="wait")
        assert policy.held.wait(300)
        for robot in others:
            robot.send(x=1.0)
        until(lambda: server.service.worker.waiting() == 2)
        policy.hold.set()
        said = [robot.hear() for robot in others]
        assert ["actions" in one for one in said].count(True) == 1
        (refused,) = (one for one in said if "error" in one)
        assert (refused["error"], refused["retry_after"]) == ("overloaded", 1.0)


def test_a_session_whose_step_runs_makes_no_room(robots):
    """Also where nobody waits for that step any more."""
    policy = Counting()
    with serving(policy, max_sessions=1, idle_at_least=0.0) as (server, url):
        first, second = robots(url, 2)
        asked = {"x": 1.0, "session_id": "arm"}
        told = first.ask(do="wait", options={"deadline": 0.05}, **asked)
        assert (told["error"], policy.held.is_set()) == ("deadline", True)
        assert second.ask(x=1.0)["error"] == "overloaded"
        policy.hold.set()
        until(server.service.worker.idle)
        assert first.ask(**asked)["actions"][0, 0] == 2


@pytest.mark.parametrize("error", [StopIteration("x"), KeyError("x")])
def test_a_check_that_fails_is_told_and_loses_its_session(robots, error):
    """As a step that fails does; also by an error that no future can raise."""

    class Failing(Counting):
        def check(self, session, message, options):
            if message.get("do") == "fail":
                raise error
            return super().check(session, message, options)

    with serving(Failing()) as (_, url):
        first, second = robots(url, 2)
        assert first.ask(x=1.0, session_id="arm")["actions"][0, 0] == 1
        assert first.ask(x=1.0, session_id="arm", do="fail")["error"] == "internal"
        assert second.ask(x=1.0, session_id="arm")["actions"][0, 0] == 1


def test_sessions_are_forgotten_when_idle_and_not_while_asked_for():
    """The clock counts from the last request's end."""
    now = [0.0]
    sessions = Sessions(2, 10.0, lambda: now[0], 1.0)
    held = _stepped(sessions, "a")
    now[0] = 100.0
    sessions.forget_idle()
    assert sessions.find("a") is held
    sessions.done(held)
    now[0] = 109.0
    assert sessions.get("a", list) is held
    sessions.done(held)
    other = _stepped(sessions, "b")
    with pytest.raises(Refused, match="there are 2 sessions"):
        sessions.get("c", list)
    sessions.drop(other)  # its connection has gone, its request is under way
    assert sessions.find("b") is other
    sessions.done(other)
    assert sessions.find("b") is None
    now[0] = 120.0
    sessions.forget_idle()
    assert len(sessions) == 0
    assert held.session is None


def test_the_session_that_is_idle_longest_makes_room():
    """A robot that goes on under another id; never one whose request is under way."""
    now = [0.0]
    sessions = Sessions(2, 600.0, lambda: now[0], 1.0, 10.0)
    busy = _stepped(sessions, "busy")
    for name in ("first", "second"):
        now[0] += 20.0
        held = _stepped(sessions, name)
        sessions.done(held)
    assert sessions.find("first") is None
    now[0] += 9.0
    with pytest.raises(Refused, match="none has been idle for 10 s"):
        sessions.get("third", list)
    assert sessions.find("second") is held
    now[0] += 1.0
    coming = sessions.get("third", list)
    assert (held.gone, sessions.find("second")) == (False, held)
    sessions.admit(coming)
    assert (held.gone, held.session) == (True, None)
    assert sessions.find("busy") is busy
    now[0] += 100.0
    with pytest.raises(Refused, match="there are 2 sessions"):
        sessions.get("fourth", list)
