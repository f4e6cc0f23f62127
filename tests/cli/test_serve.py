"""``jax-stepcache serve``, as a user types it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from unittest import mock

import pytest

from jax_stepcache.cli.main import main
from jax_stepcache.cli.parser import parse
from jax_stepcache.cli.serve import policy_settings, server_settings
from jax_stepcache.serving import ServerSettings

pytest.importorskip("starlette")

from tests.serving.robots.toy import (
    Counting,
    Robot,
    answers,
    free_port,
    until,
    until_ready,
)


@pytest.fixture(autouse=True)
def _logs_as_they_are(monkeypatch):
    """Other tests read them."""
    monkeypatch.setattr("jax_stepcache.cli.serve.log_to_stderr", lambda: None)


def test_options_are_settings(tmp_path):
    """Each limit of the command line is the setting of that name."""
    (tmp_path / "token").write_text("open sesame\n")
    line = "serve --slots 2 --session-ttl 5 --max-frames 3 --debug --cache tuned"
    options = ["--cache-config", '{"budget": 5}', "--most-steps", "20"]
    files = ["--token-file", str(tmp_path / "token"), "--sessions", str(tmp_path)]
    parsed = parse([*line.split(), *options, *files])
    settings = ServerSettings(**server_settings(parsed))
    assert (settings.slots, settings.session_ttl, settings.max_frames) == (2, 5.0, 3)
    assert (settings.debug, settings.token) == (True, "open sesame")
    assert settings.sessions == tmp_path
    assert ServerSettings(**server_settings(parse(["serve"]))) == ServerSettings()
    assert policy_settings(parsed) == {
        "cache_backend": "tuned",
        "cache_config": {"budget": 5},
        "most_steps": 20,
    }


@pytest.mark.parametrize("cache", ["tuned", "bespoke"])
def test_a_budget_is_given_as_to_other_commands(cache):
    """Beside other settings of the cache, which it is one of."""
    line = f"serve --cache {cache} --budget 5".split()
    assert policy_settings(parse(line))["cache_config"] == {"budget": 5}
    line += ["--cache-config", '{"rel_l1_thresh": 0.1}']
    config = policy_settings(parse(line))["cache_config"]
    assert config == {"rel_l1_thresh": 0.1, "budget": 5}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slots", "0"], "slots is 0"),
        (["--port", "65536"], "--port is 65536"),
        (["--params", "dit"], "dit acts for no robot; 'tabletop' and 'metaworld' do"),
        (["--params", "tabletpo"], "Did you mean 'tabletop'?"),
        (["--cache", "step_cash"], "Did you mean 'step_cache'?"),
        (["--tls-key", "key.pem"], "go together"),
        (["--tls-key", "k", "--tls-certificate", "c"], "there is no file c"),
        (["--token-file", "nowhere"], "--token-file nowhere: "),
        (["--token-file", "short"], "--token-file short: token has fewer than 8"),
        (["--embodiment", "yamm"], "tabletop takes no --embodiment"),
        (["--cache", "tuned"], "cache='tuned' needs a budget"),
        (
            ["--cache", "tuned", "--cache-config", '{"budget": 7}'],
            "schedule of 7 model",
        ),
        (["--cache", "tuned", "--budget", "7"], "schedule of 7 model"),
        (["--budget", "5"], "--cache step_cache has none; tuned and bespoke have"),
        (
            ["--cache", "tuned", "--budget", "5", "--cache-config", '{"budget": 5}'],
            "give either",
        ),
        (["--params", "DreamZero-DROID"], "'DreamZero-DROID' here. Nothing is downl"),
        (["--most-steps", "3"], "most_steps is 3"),
        (["--replicas", "2", "--sessions", "x"], "sessions= is a folder of one serv"),
        (["--replicas", "0"], "replicas is 0"),
        (["--replicas", "2", "--cache", "step_cash"], "Did you mean 'step_cache'?"),
        (["--hosts", "robot:8000"], "hosts has 'robot:8000'"),
        (["--sessions", "short"], "sessions= is 'short', a file; give a folder"),
        (["--sessions", "short/inside"], "where nothing can be written"),
        (["--max-pixels", "0"], "max_pixels is 0"),
        (
            ["--cache", "cfg_cache", "--guidance-scale", "1"],
            "tabletop is served without guidance, so there is none: give another",
        ),
    ],
)
def test_bad_input_is_one_line(options, words, capsys, monkeypatch, tmp_path):
    """Before a port is taken, or anything compiled."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("sesame\n")
    assert main(["serve", *options]) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert len(printed.splitlines()) == 1


def test_a_policy_that_cannot_be_served_ends_in_one_line(capsys, monkeypatch):
    """In the failure's own words, after what the log has of it."""

    class Broken(Counting):
        def examples(self, robots):
            raise MemoryError("no memory")

    monkeypatch.setattr(
        "jax_stepcache.cli.serve.policy_from", lambda *_, **__: Broken()
    )
    assert main(["serve", "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert said == "jax-stepcache: the policy cannot be served: no memory\n"


@pytest.mark.parametrize("broken", ["folder", "session"])
def test_sessions_that_cannot_be_saved_are_no_success(
    broken, tmp_path, capsys, monkeypatch
):
    """A supervisor sees it: status 1, and one line after the log."""
    folder = tmp_path / "sessions"

    class Full(Counting):
        def save(self, folder, session):
            raise OSError("no space")

    monkeypatch.setattr("jax_stepcache.cli.serve.policy_from", lambda *_, **__: Full())
    port = free_port()

    def ask_and_stop():
        url = f"ws://127.0.0.1:{port}"
        until(lambda: answers(url))
        try:
            until_ready(url)
            with Robot(url) as robot:
                robot.ask(x=1.0, session_id="a")
            if broken == "folder":
                folder.rmdir()
                folder.touch()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=ask_and_stop)
    stopping.start()
    assert main(["serve", "--port", str(port), "--sessions", str(folder)]) == 1
    stopping.join()
    said = capsys.readouterr().err
    assert said.startswith("jax-stepcache: not all sessions were saved: ")
    assert len(said.splitlines()) == 1


def test_sigterm_before_there_is_a_server_ends_with_0(monkeypatch):
    """Weights take minutes to load; the handler is as it was afterwards."""
    before = signal.getsignal(signal.SIGTERM)

    def load(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("jax_stepcache.cli.serve.policy_from", load)
    with pytest.raises(SystemExit) as ended:
        main(["serve"])
    assert ended.value.code == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_step_that_was_not_waited_for_is_left_without_a_crash(monkeypatch):
    """Python's own end would pull away what its thread stands on."""
    left = []
    monkeypatch.setattr("jax_stepcache.cli.serve.policy_from", lambda *_, **__: None)
    monkeypatch.setattr("jax_stepcache.cli.serve.policy_server", lambda *_, **__: made)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    monkeypatch.setattr("os._exit", left.append)
    made = mock.Mock()
    for alive in (False, True):
        made.service.worker.is_alive.return_value = alive
        assert main(["serve"]) == 0
        assert left == [0] * alive


def test_a_missing_extra_is_told_before_weights_are_loaded(capsys, monkeypatch):
    """That takes minutes, and is in vain without it."""
    monkeypatch.setitem(sys.modules, "jax_stepcache.serving.robots.running", None)
    monkeypatch.setattr("jax_stepcache.cli.serve.policy_from", pytest.fail)
    assert main(["serve"]) == 1
    assert "pip install 'jax-stepcache[robot]'" in capsys.readouterr().err
