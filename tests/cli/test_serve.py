"""``jax-stepcache serve``, as a user types it."""

from __future__ import annotations

import pytest

from jax_stepcache.cli.main import main
from jax_stepcache.cli.parser import parse
from jax_stepcache.cli.serve import policy_settings, server_settings
from jax_stepcache.serving import ServerSettings

pytest.importorskip("starlette")


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--slots", "0"], "slots is 0"),
        (["--port", "65536"], "--port is 65536"),
        (["--params", "dit"], "dit acts for no robot; 'tabletop' does"),
        (["--params", "tabletpo"], "Did you mean 'tabletop'?"),
        (["--cache", "step_cash"], "Did you mean 'step_cache'?"),
        (["--tls-key", "key.pem"], "go together"),
        (["--tls-key", "k", "--tls-certificate", "c"], "there is no file c"),
        (["--token-file", "nowhere"], "nowhere"),
        (["--most-steps", "3"], "most_steps is 3"),
        (["--replicas", "2", "--sessions", "x"], "sessions= is a folder of one serv"),
    ],
)
def test_bad_input_is_one_line(options, words, capsys, monkeypatch):
    """Before a port is taken, or anything compiled."""
    monkeypatch.setattr("jax_stepcache.serving.robots.on_ray.gpus_each", lambda: 0)
    assert main(["serve", *options]) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert "Traceback" not in printed
