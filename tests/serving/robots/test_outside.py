"""What a server tells: whether it lives, what it counts, what it logs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import threading
import warnings
from typing import ClassVar

import numpy as np
import pytest

from jax_stepcache.errors import warn
from jax_stepcache.serving import policy_server
from jax_stepcache.serving.robots.logs import JsonLines, log_to_stderr
from jax_stepcache.serving.robots.progress import Progress
from tests.serving.robots.toy import Counting, Robot, got, serving, until


class Slow(Counting):
    """Compiles until it is let go."""

    def examples(self, robots):
        return [[{"x": 0.0, "do": "wait"}] * robots] * 2


def test_it_is_alive_at_once_and_ready_after_compiling():
    """A balancer sends nobody before; whoever comes is told to wait."""
    policy = Slow()
    with policy_server(policy).background() as url:
        assert got(url, "/healthz") == (200, b"OK\n")
        assert policy.held.wait(300)
        assert got(url, "/readyz") == (503, b"compiling\n")
        with Robot(url) as robot:
            told = robot.ask(x=1.0)
            assert (told["error"], told["retry_after"]) == ("overloaded", 10.0)
            assert "0 of 8 steps" in told["message"]
            assert json.loads(got(url, "/status")[1])["compiled"] == [0, 8]
            policy.hold.set()
            until(lambda: got(url, "/readyz")[0] == 200)
            assert robot.ask(x=1.0)["actions"][0, 0] == 1
        # Each number of robots that may be stepped together, twice; then the robot.
        assert policy.batches == [1, 1, 2, 2, 4, 4, 8, 8, 1]


def test_how_long_compiling_takes_is_told(caplog):
    """By what it took until then, in the log and to robots; at least a second, and at
    most a minute."""
    now = [100.0]
    progress = Progress(clock=lambda: now[0])
    progress.begin(9)
    assert progress.retry_after() == 10
    with caplog.at_level(logging.INFO, "jax_stepcache.robots"):
        for seconds in (3.0, 3.0, 3.0):
            now[0] += seconds
            progress.step()
    assert caplog.messages == [f"compiling: {done} of 9" for done in (1, 2, 3)]
    assert progress.retry_after() == 18
    now[0] += 300
    assert progress.retry_after() == 60
    for _ in range(6):
        progress.step()
    assert progress.retry_after() == 1


def test_a_film_is_made_before_it_is_ready():
    """The button of the page makes no robot wait for a compiler."""
    filmed = []

    class Filming(Counting):
        def film(self, session):
            filmed.append(session)
            return super().film(session)

    with serving(Filming()):
        assert filmed == [2]  # after the examples


def test_a_server_told_to_stop_compiles_no_further():
    """A supervisor waits for the program that is being compiled, not for all."""
    policy = Slow()
    server = policy_server(policy)

    def let_go():
        until(lambda: server.service.draining)
        policy.hold.set()

    with server.background():
        assert policy.held.wait(20)
        threading.Thread(target=let_go).start()
    assert policy.batches == [1]


def test_a_policy_that_cannot_be_compiled_ends_the_server():
    """And says why, rather than never to be ready."""

    class Broken(Counting):
        def examples(self, robots):
            raise RuntimeError("no memory")

    server = policy_server(Broken())
    with pytest.raises(RuntimeError, match="cannot be served") as caught:
        server.run(port=0)
    assert "no memory" in str(caught.value.__cause__)


def test_options_of_other_programs_are_compiled_for():
    """Before anybody is served, after all examples."""

    class Noting(Counting):
        variants = ({"num_inference_steps": 2},)
        asked: ClassVar[list] = []

        def step_many(self, sessions, messages, options):
            self.asked.append(tuple(options))
            return super().step_many(sessions, messages, options)

    with serving(Noting(), slots=1):
        assert Noting.asked == [({},), ({},), ({"num_inference_steps": 2},)]


def test_a_worker_that_has_failed_is_seen_from_outside():
    """By a balancer, before the server has ended."""
    server, told = policy_server(Counting()), []
    server.service._fail(RuntimeError("broken"))

    async def asked(path):
        scope = {"type": "http", "method": "GET", "path": path, "headers": []}

        async def said(message):
            told.append(message.get("status"))

        await server.app(scope, lambda: asyncio.sleep(0), said)

    for path in ("/readyz", "/healthz"):
        told.clear()
        asyncio.run(asked(path))
        assert told[0] == 503


def _metrics(url):
    text = got(url, "/metrics")[1].decode()
    lines = re.findall(r"^(robots_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_metrics_count_what_happened():
    """Requests, steps, calls and calls skipped, sessions, errors by kind."""
    with serving() as (_, url), Robot(url) as robot:
        for x in range(3):
            robot.ask(x=x, session_id="a")
        robot.ask(x=1.0, options={"num_inference_steps": 5})
        robot.ask(y=1.0)
        robot.send_raw(b"\xc1")
        robot.hear()
        told = _metrics(url)
        assert told["robots_request_seconds_count"] == 4
        assert told["robots_steps_total"] == 4
        assert told["robots_network_calls_total"] == 3 * 2 + 3
        assert told["robots_network_calls_skipped_total"] == 3 * 2 + 2
        assert told["robots_sessions"] == 2
        assert told["robots_connections"] == 1
        assert told["robots_queue_length"] == told["robots_slots_in_use"] == 0
        assert told['robots_errors_total{kind="bad_request"}'] == 1
        assert told['robots_errors_total{kind="bad_message"}'] == 1
        assert told['robots_errors_total{kind="internal"}'] == 0
        buckets = [
            v for k, v in told.items() if k.startswith("robots_request_seconds_b")
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == 4


def test_the_status_has_sessions_and_their_films():
    """What the page shows, as JSON and raw pictures; what a request may ask for."""
    with serving() as (_, url), Robot(url) as robot:
        for _ in range(2):
            robot.ask(x=1.0, session_id="a/b c")
        # For these nothing is computed.
        assert robot.ask(endpoint="reset", session_id="b") == "reset successful"
        assert robot.ask(y=1.0, session_id="a/b c")["error"] == "bad_request"
        told = json.loads(got(url, "/status")[1])
        (session,) = told["sessions"]
        assert (session["id"], session["steps"]) == ("a/b c", 2)
        assert (session["calls"], session["skipped"]) == (4, 4)
        assert len(told["latencies"]) == 2
        status, film = got(url, "/film/a%2Fb%20c")
        assert (status, film) == (200, bytes([2]) * 2 * 4 * 6 * 3)
        assert got(url, "/film/nobody")[0] == 404
        said = json.loads(got(url, "/policy")[1])
        assert said["metadata"] == {"policy": "counting"}
        assert said["message"].keys() == {"x", "do"}
        assert said["unavailable"] == {}
        assert said["options"].keys() == {"num_inference_steps", "deadline", "stats"}
        assert got(url, "/")[0] == 200


def test_a_film_of_a_server_that_stops_is_503():
    """It is no fault of the server's, and no traceback is in its log."""
    with serving() as (server, url), Robot(url) as robot:
        robot.ask(x=1.0, session_id="arm")
        server.service.worker.stop()
        assert got(url, "/film/arm") == (503, b"the server is stopping\n")


def test_pages_need_the_token_but_for_whether_it_lives():
    """A balancer knows no token, and the page holds no numbers of its own."""
    with serving(token="open sesame") as (_, url):
        for path in ("/healthz", "/readyz", "/"):
            assert got(url, path)[0] == 200
        for path in ("/metrics", "/status", "/policy", "/film/x"):
            assert got(url, path)[0] == 401
            assert got(url, path, Authorization="Bearer open sesame")[0] in (200, 404)


@pytest.fixture
def stderr(monkeypatch):
    """What is logged to standard error; loggers are as they were at the end."""
    loggers = [logging.getLogger(name) for name in ("jax_stepcache.robots", "uvicorn")]
    before = [(one.handlers, one.level, one.propagate) for one in loggers]
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    log_to_stderr()
    yield stream
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


def test_the_log_tells_of_whoever_has_no_token(stderr):
    """With the address, a line each; and uvicorn has nothing to add."""
    from websockets.exceptions import InvalidStatus

    with serving(token="open sesame") as (_, url):
        for shown in ({}, {"Authorization": "Bearer sesame"}):
            with pytest.raises(InvalidStatus, match="401"):
                Robot(url, **shown)
        assert got(url, "/status")[0] == 401
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    told = [line for line in lines if line["level"] != "info"]
    assert [line["message"] for line in told] == [
        "refused: no token",
        "refused: wrong token",
        "refused: no token",
    ]
    assert all(line["at"].startswith("127.0.0.1:") for line in told)


@pytest.mark.usefixtures("stderr")
def test_warnings_are_lines_of_the_log(capsys):
    """With the id of the request whose check gave them; standard error is JSON only."""

    class Warns(Counting):
        def check(self, session, message, options):
            super().check(session, message, options)
            if "state" not in message:
                warn("the request lacks 'state'; zeros stand for it")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        log_to_stderr()  # pytest has taken back since then what the fixture did
        with serving(Warns()) as (_, url), Robot(url) as robot:
            robot.ask(x=1.0)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (answered,) = [line for line in lines if line["message"] == "answered"]
    told = [line for line in lines if line.get("kind") == "UserWarning"]
    assert {line["message"] for line in told} == {
        "the request lacks 'state'; zeros stand for it"
    }
    asked = [line["request"] for line in told if "request" in line]
    assert asked == [answered["request"]]


def test_the_address_in_the_log_is_not_made_up(caplog):
    """Whoever sits at this machine may say that it speaks for another."""
    with serving(token="open sesame") as (_, url):
        assert got(url, "/status", **{"X-Forwarded-For": "6.6.6.6"})[0] == 401
    (told,) = (one.at for one in caplog.records if "no token" in one.getMessage())
    assert told.startswith("127.0.0.1:")


def test_a_page_from_elsewhere_may_not_connect():
    """Browsers let any page open a websocket to 127.0.0.1; the page's origin tells."""
    from websockets.exceptions import InvalidStatus

    with serving() as (_, url):
        with pytest.raises(InvalidStatus, match="403"):
            Robot(url, Origin="https://elsewhere.example")
        with Robot(url, Origin=url.replace("ws", "http")) as robot:
            assert robot.ask(x=1.0)["actions"][0, 0] == 1


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_from_elsewhere_may_ask_for_no_page(said):
    """A film costs robots' time; pictures and frames of other sites have no origin."""
    with serving() as (_, url), Robot(url) as robot:
        robot.ask(x=1.0, session_id="arm")
        for path in ("/metrics", "/status", "/policy", "/film/arm"):
            assert got(url, path, **said)[0] == 403
        ours = {"Origin": url.replace("ws", "http"), "Sec-Fetch-Site": "same-origin"}
        assert got(url, "/film/arm", **ours)[0] == 200
        assert got(url, "/film/arm", **{"Sec-Fetch-Site": "none"})[0] == 200


def test_each_request_is_a_line_of_json(caplog):
    """With the id that its error has, so that a client's report is found."""
    with (
        caplog.at_level(logging.INFO, "jax_stepcache.robots"),
        serving() as (_, url),
        Robot(url) as robot,
    ):
        robot.ask(x=1.0, session_id="arm")
        told = robot.ask(y=np.zeros(2), session_id="arm")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    answered = [line for line in lines if line["message"] == "answered"]
    assert [line["session"] for line in answered] == ["arm"]
    assert answered[0]["seconds"] > 0
    (refused,) = [line for line in lines if line.get("kind") == "bad_request"]
    assert refused["request"] == told["request_id"]
    assert refused["level"] == "warning"
