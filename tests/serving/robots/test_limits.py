"""Many robots and few places: together where they can, refused where they cannot."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from jax_stepcache.serving import ServerSettings, policy_server
from jax_stepcache.serving.robots.connection import Conversation
from jax_stepcache.serving.robots.refused import Refused
from jax_stepcache.serving.robots.waiting import Ticket, Waiting, sizes
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


def test_those_who_wait_are_stepped_together(robots):
    """In numbers that programs were compiled for, each with its own answer."""
    policy = Counting()
    with serving(policy, slots=4) as (server, url):
        first, *others = robots(url, 8)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(300)
        for i, robot in enumerate(others, 1):
            robot.send(x=float(i))
        until(lambda: server.service.worker.waiting() == 7)
        policy.batches.clear()
        policy.hold.set()
        for i, robot in enumerate([first, *others]):
            assert robot.hear()["actions"].tolist() == [[1, i]] * 3
        assert policy.batches == [4, 2, 1]


def test_one_bad_request_fails_alone(robots):
    """Whether it shows before the step, or only in it."""
    policy = Counting()
    with serving(policy, slots=4) as (server, url):
        first, *others = robots(url, 5)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(300)
        asked = [{"x": 1.0}, {"y": 1.0}, {"x": 1.0, "do": "refuse"}, {"x": 1.0}]
        for robot, message in zip(others, asked, strict=True):
            robot.send(**message)
        until(lambda: server.service.worker.waiting() == 4)
        policy.hold.set()
        said = [robot.hear() for robot in others]
        assert ["actions" in one for one in said] == [True, False, False, True]
        assert "refused late" in said[2]["message"]
        for robot in others:  # and all sessions are usable
            assert "actions" in robot.ask(x=1.0)


def test_one_more_than_may_wait_is_told_when_to_come_again(robots):
    """By an error at once; the queue does not grow."""
    policy = Counting()
    with serving(policy, slots=1, capacity=2) as (server, url):
        first, second, third, fourth = robots(url, 4)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(300)
        second.send(x=1.0)
        third.send(x=1.0)
        until(lambda: server.service.worker.waiting() == 2)
        told = fourth.ask(x=1.0)
        assert told["error"] == "overloaded"
        assert told["retry_after"] > 0
        policy.hold.set()
        for robot in (first, second, third):
            assert robot.hear()["actions"][0, 0] == 1
        assert fourth.ask(x=1.0)["actions"][0, 0] == 1


def test_a_deadline_ends_a_request_that_waits(robots):
    """It is not computed any more; a request may name less than the server's."""
    policy = Counting()
    with serving(policy, slots=1, deadline=15.0) as (server, url):
        first, second = robots(url, 2)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(300)
        told = second.ask(x=1.0, options={"deadline": 0.05})
        assert told["error"] == "deadline"
        assert server.service.worker.waiting() == 0
        policy.hold.set()
        first.hear()
        assert second.ask(x=1.0)["actions"][0, 0] == 1


def test_a_deadline_ends_a_request_whose_step_takes_too_long(robots):
    """The robot is told in time, once; its session has moved on."""
    policy = Counting()
    with serving(policy) as (_, url):
        (robot,) = robots(url, 1)
        asked = {"x": 1.0, "options": {"deadline": 0.05}}
        assert robot.ask(do="wait", **asked)["error"] == "deadline"
        assert policy.held.is_set()
        policy.hold.set()
        assert robot.ask(x=1.0)["actions"][0, 0] == 2


def test_a_reset_has_a_deadline(robots):
    """As any request; one that has not begun by then never does."""
    policy = Counting()
    with serving(policy) as (_, url):
        first, second = robots(url, 2)
        second.ask(x=1.0)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(20)
        told = second.ask(endpoint="reset", options={"deadline": 0.05})
        assert told["error"] == "deadline"
        policy.hold.set()
        first.hear()
        assert second.ask(x=1.0)["actions"][0, 0] == 2


def test_a_policy_that_breaks_its_promises_keeps_nobody_waiting(robots):
    """Too few replies are an error of that step; worse ends the server, which
    tells whoever waits and whoever is there."""

    class Broken(Counting):
        def step_many(self, sessions, messages, options):
            replies = super().step_many(sessions, messages, options)
            do = messages[0].get("do")
            if do == "fewer":
                return replies[1:]
            return [one._replace(computed=None) for one in replies] if do else replies

    from websockets.exceptions import ConnectionClosed

    with serving(Broken()) as (server, url):
        first, second, third = robots(url, 3)
        assert first.ask(x=1.0, do="fewer")["error"] == "internal"
        assert second.ask(x=1.0)["actions"][0, 0] == 1
        assert second.ask(x=1.0, do="worse")["error"] == "internal"
        with pytest.raises(ConnectionClosed):
            third.hear()
    with pytest.raises(RuntimeError, match="cannot be served"):
        server.wait_until_ready()


@pytest.mark.slow
def test_memory_of_those_who_have_gone_is_given_back(robots):
    """Also where a session ends in the midst of its step: nobody holds on to it."""

    class Session:
        pass

    class Remembering(Counting):
        def open(self):
            return Session()

        def step_many(self, sessions, messages, options):
            replies = super().step_many([0] * len(sessions), messages, options)
            replies = [reply._replace(session=Session()) for reply in replies]
            alive.extend(weakref.ref(reply.session) for reply in replies)
            return replies

        def film(self, session):
            return super().film(0)

    alive: list[weakref.ref] = []
    policy = Remembering()
    with serving(policy, session_ttl=0.3) as (server, url):
        first, second = robots(url, 2)
        first.ask(x=1.0, session_id="idle")
        second.send(x=1.0, do="wait")
        assert policy.held.wait(300)
        second.close()
        until(lambda: server.service.connections == 1)
        policy.hold.set()
        until(server.service.worker.idle)
        until(lambda: len(server.service.sessions) == 0)
        until(lambda: gc.collect() is not None and not any(one() for one in alive))


def test_whoever_goes_away_waits_no_more(robots):
    """A closed connection takes its request out of the queue, and its session away."""
    policy = Counting()
    with serving(policy, slots=1) as (server, url):
        first, second = robots(url, 2)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(300)
        second.send(x=1.0)
        until(lambda: server.service.worker.waiting() == 1)
        second.close()
        until(lambda: server.service.worker.waiting() == 0)
        policy.hold.set()
        first.hear()
        until(lambda: len(server.service.sessions) == 1)


def test_two_connections_of_one_session_take_turns(robots):
    """A session is in a step once, whoever asks."""
    policy = Counting()
    with serving(policy, slots=4) as (server, url):
        first, *others = robots(url, 3)
        first.send(x=0.0, do="wait")
        assert policy.held.wait(300)
        for robot in others:
            robot.send(x=1.0, session_id="arm")
        until(lambda: server.service.worker.waiting() == 2)
        policy.batches.clear()
        policy.hold.set()
        counts = sorted(robot.hear()["actions"][0, 0] for robot in others)
        assert counts == [1, 2]
        assert policy.batches == [1, 1]


def test_sessions_and_connections_are_bounded(robots):
    """One more session is refused until another is idle or gone; one more connection
    at its handshake."""
    from websockets.exceptions import InvalidStatus

    with serving(max_sessions=2, max_connections=3, session_ttl=2.0) as (server, url):
        a, b, c = robots(url, 3)
        assert "actions" in a.ask(x=1.0, session_id="a")
        assert "actions" in b.ask(x=1.0, session_id="b")
        told = c.ask(x=1.0, session_id="c")
        assert (told["error"], told["retry_after"]) == ("overloaded", 1.0)
        with pytest.raises(InvalidStatus, match="503"):
            Robot(url)
        until(lambda: len(server.service.sessions) == 0)  # idle for long enough
        assert c.ask(x=1.0, session_id="c")["actions"][0, 0] == 1
        assert a.ask(x=1.0, session_id="a")["actions"][0, 0] == 1


def test_a_frame_that_is_too_large_closes_its_connection_only(robots):
    """Before it is read whole."""
    from websockets.exceptions import ConnectionClosed

    with serving(max_message=2000) as (_, url):
        good, bad = robots(url, 2)
        bad.send(x=1.0, much=b"0" * 100_000)
        with pytest.raises(ConnectionClosed) as closed:
            bad.hear()
        assert closed.value.rcvd.code == 1009
        assert good.ask(x=1.0)["actions"][0, 0] == 1


def test_a_frame_that_another_server_lets_in_is_refused():
    """Ray's proxy knows nothing of our limit; what is quoted of a message has one."""
    service = policy_server(Counting(), max_message=2000).service
    conversation = Conversation(service, None)  # pyright: ignore[reportArgumentType]
    with pytest.raises(Refused, match="has 2001 bytes; at most 2000"):
        conversation._read({"bytes": b"0" * 2001})
    assert len(Refused("bad_request", "0" * 10**6).frame("x")) < 30_000


@pytest.mark.slow
def test_robots_that_come_back_together_are_awaited(robots):
    """After a step of four the next is of four again, not of one and three."""
    policy = Counting(seconds=0.2)
    with serving(policy, slots=4, gather=1.0) as (_, url):
        some = robots(url, 4)
        for turn in range(4):
            for robot in some:
                robot.send(x=1.0)
            for robot in some:
                assert robot.hear()["actions"][0, 0] == turn + 1
        assert policy.batches[-2:] == [4, 4]


def test_the_queue_is_fair_and_in_powers_of_two():
    """First come, first served; a session's second request waits for its first."""
    waiting, held = Waiting(8), [type("Held", (), {})() for _ in range(4)]
    loop = asyncio.new_event_loop()
    tickets = [
        Ticket(held[i], {}, {}, 0.0, 1.0, f"{n}", loop.create_future())
        for n, i in enumerate((0, 1, 0, 2, 3, 3))
    ]
    loop.close()
    for ticket in tickets:
        waiting.put(ticket, 0.5)
    assert waiting.ready() == 4
    assert waiting.take(3) == tickets[:2]
    assert waiting.take(8) == [tickets[2], tickets[3]]
    assert waiting.take(8) == [tickets[4]]
    assert waiting.take(8) == [tickets[5]]
    assert waiting.take(8) == []
    assert sizes(8) == [1, 2, 4, 8]
    assert sizes(5) == [1, 2, 4]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"slots": 0}, "slots is 0"),
        ({"deadline": 0}, "deadline is 0"),
        ({"token": "short"}, "token has fewer"),
        ({"token": "öffne dich"}, "token has other characters"),
        ({"token": "open sesame\n"}, "token has other characters"),
        ({"max_message": 3}, "max_message is 3"),
        ({"gather": -1.0}, "gather is -1.0"),
        ({"idle_at_least": -1.0}, "idle_at_least is -1.0"),
        ({"debug": 1}, "debug is 1"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        ServerSettings(**settings)


def test_a_token_is_in_no_log():
    """Settings are shown where something has failed."""
    assert "sesame" not in repr(ServerSettings(token="open sesame"))


def test_what_cannot_be_served_is_told():
    """The nearest setting; a pipeline whose model acts for no robot."""
    with pytest.raises(TypeError, match="Did you mean 'max_sessions'"):
        policy_server(Counting(), max_session=3)
    with pytest.raises(TypeError, match="cannot be served to robots"):
        policy_server(threading)
