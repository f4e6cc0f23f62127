"""The published openpi client speaks to the server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.serving.robots.toy import (
    Robot,
    answers,
    free_port,
    got,
    port_of,
    serving,
    until,
    until_ready,
)

broker = pytest.importorskip("openpi_client.action_chunk_broker")
client = pytest.importorskip("openpi_client.websocket_client_policy")


@pytest.fixture(scope="module")
def served():
    with serving() as (server, url):
        yield server, url


def _connect(url, **options):
    return client.WebsocketClientPolicy("127.0.0.1", port_of(url), **options)


def test_a_client_gets_metadata_and_actions(served):
    """Metadata on connecting; each reply has openpi's keys; the session goes on."""
    _, url = served
    policy = _connect(url)
    assert policy.get_server_metadata() == {"policy": "counting"}
    first, second = policy.infer({"x": 0.5}), policy.infer({"x": np.float32(2)})
    assert first.keys() == {"actions", "policy_timing", "server_timing"}
    assert first["actions"].dtype == np.float32
    np.testing.assert_array_equal(first["actions"], [[1, 0.5]] * 3)
    np.testing.assert_array_equal(second["actions"], [[2, 2]] * 3)
    assert first["server_timing"].keys() == {"infer_ms"}
    assert second["server_timing"].keys() == {"infer_ms", "prev_total_ms"}
    assert first["policy_timing"].keys() == {"infer_ms"}
    # The server's is with the wait for the step.
    assert first["server_timing"]["infer_ms"] > first["policy_timing"]["infer_ms"] > 0


@pytest.mark.slow
def test_the_command_serves_the_tabletop_to_it():
    """As a user types both: actions of the bundled policy, and SIGTERM ends with 0."""
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    program = "import sys; from jax_stepcache.cli.main import main; sys.exit(main())"
    line = f"serve --params tabletop --slots 1 --port {port}"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *line.split()], cwd=Path(__file__).parents[3]
    )
    try:
        until(lambda: answers(url))
        until_ready(url)
        policy = _connect(url)
        assert policy.get_server_metadata()["policy"] == "tabletop"
        seen = {
            "observation/image": np.zeros((32, 32, 3), np.uint8),
            "observation/state": np.full(2, 0.5, np.float32),
            "prompt": "reach red",
        }
        first, second = policy.infer(seen)["actions"], policy.infer(seen)["actions"]
        rows = policy.get_server_metadata()["action_horizon"]
        assert first.shape == second.shape == (rows, 2)
        assert np.isfinite(first).all()
        assert not np.array_equal(first, second)  # the session has gone on
        with pytest.raises(RuntimeError, match=r"bad_request.*'prompt' is 'reach'"):
            policy.infer({**seen, "prompt": "reach"})
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 0
    finally:
        process.kill()


def test_the_broker_takes_chunks_row_by_row(served):
    """No array in a reply but the actions, or the broker would slice it as well."""
    server, url = served
    one = broker.ActionChunkBroker(_connect(url), action_horizon=3)
    asked = {"x": 1.0, "options": {"stats": True}}
    rows = [one.infer(asked) for _ in range(6)]
    assert [row["actions"].tolist() for row in rows] == [[1, 1]] * 3 + [[2, 1]] * 3
    assert rows[0]["stats"]["computed"] == [True, False, True, False]
    assert server.service.worker.idle()


def test_an_error_is_raised_by_the_client_and_the_session_goes_on(served):
    """A text frame, which the client takes for an error; it names the key."""
    _, url = served
    policy = _connect(url)
    policy.infer({"x": 1.0})
    with pytest.raises(RuntimeError, match=r"bad_request.*lacks 'x'"):
        policy.infer({"y": 1.0})
    with pytest.raises(RuntimeError, match=r"'x' is nan; it must be finite"):
        policy.infer({"x": np.nan})
    assert policy.infer({"x": 1.0})["actions"][0, 0] == 2


def test_a_client_without_a_session_id_begins_anew_when_it_reconnects():
    """As with openpi's server: the session is the connection's, and gone with it."""
    with serving() as (server, url):
        for _ in range(2):
            policy = _connect(url)
            assert policy.infer({"x": 1.0})["actions"][0, 0] == 1
            policy._ws.close()
        until(lambda: len(server.service.sessions) == 0)


def test_a_session_with_an_id_survives_reconnecting(served):
    """Whatever connection names it goes on with it."""
    _, url = served
    with Robot(url) as robot:
        assert robot.ask(x=1.0, session_id="arm")["actions"][0, 0] == 1
    with Robot(url) as robot:
        assert robot.ask(x=1.0, session_id="arm")["actions"][0, 0] == 2
        assert robot.ask(x=1.0, session_id="other")["actions"][0, 0] == 1
        assert robot.ask(x=1.0)["actions"][0, 0] == 1


def test_a_session_without_an_id_is_nobody_elses():
    """Not even of who reads its name on the status page."""
    with serving() as (_, url), Robot(url) as robot, Robot(url) as other:
        robot.ask(x=1.0)
        (session,) = json.loads(got(url, "/status")[1])["sessions"]
        told = other.ask(x=1.0, session_id=session["id"])
        assert told["error"] == "bad_request"
        assert robot.ask(x=1.0)["actions"][0, 0] == 2


def test_an_internal_error_tells_nothing_and_loses_one_session_only():
    """The client is told no path; 1011 ends the connection, as openpi's server does."""
    from websockets.exceptions import ConnectionClosed

    with serving() as (_, url), Robot(url) as other:
        assert other.ask(x=1.0)["actions"][0, 0] == 1
        with Robot(url) as robot:
            robot.ask(x=1.0, session_id="arm")
            told = robot.ask(x=1.0, session_id="arm", do="fail")
            assert told["error"] == "internal"
            assert "/home" not in json.dumps(told)
            with pytest.raises(ConnectionClosed) as closed:
                robot.hear()
            assert closed.value.rcvd.code == 1011
        with Robot(url) as robot:
            assert robot.ask(x=1.0, session_id="arm")["actions"][0, 0] == 1
        assert other.ask(x=1.0)["actions"][0, 0] == 2
    with serving() as (_, url):
        with Robot(url) as robot:  # no arm is told to move by what is no number
            assert (
                robot.ask(x=1.0, do="overflow", session_id="arm")["error"] == "internal"
            )
        with Robot(url) as robot:
            assert robot.ask(x=1.0, session_id="arm")["actions"][0, 0] == 1
    with serving(debug=True) as (_, url), Robot(url) as robot:
        assert "Traceback" in robot.ask(x=1.0, do="fail")["message"]


def test_a_token_is_shown_as_openpis_client_shows_it():
    """`Api-Key`, or a bearer token; whoever has none is refused at the handshake."""
    from websockets.exceptions import InvalidStatus

    with serving(token="open sesame") as (_, url):
        policy = _connect(url, api_key="open sesame")
        assert policy.infer({"x": 1.0})["actions"][0, 0] == 1
        with Robot(url, Authorization="Bearer open sesame") as robot:
            assert robot.ask(x=1.0)["actions"][0, 0] == 1
        for wrong in ("open sesamE", "", "open sesame "[:-2], "öffne dich"):
            with pytest.raises(InvalidStatus, match="401"):
                Robot(url, Authorization=f"Bearer {wrong}")
        with pytest.raises(InvalidStatus, match="401"):
            Robot(url)
        with pytest.raises(InvalidStatus, match="401"):
            Robot(url, Authorization="Basic open sesame")
