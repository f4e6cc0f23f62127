"""What a robot may ask for: told apart quickly, however large it is."""

from __future__ import annotations

import re

import msgpack
import numpy as np
import pytest

from jax_stepcache.check import check_count
from jax_stepcache.errors import brief
from jax_stepcache.serving.robots.asked import asked, options_allowed
from jax_stepcache.serving.robots.settings import ServerSettings
from jax_stepcache.serving.robots.wire import unpack

_SETTINGS = ServerSettings()


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (b"\0" * 2**20, "'endpoint' is bytes of length 1048576; send text"),
        ("i" * 129, "'endpoint' is 'iii"),
        ("infr", "Did you mean 'infer'"),
        (3, "'endpoint' is 3; send text"),
        (np.array(["infer", "reset"]), "send text"),
    ],
)
def test_an_endpoint_is_a_short_text(endpoint, words):
    """Anything else is refused before it is compared, which took seconds."""
    with pytest.raises((ValueError, TypeError), match=words):
        asked({"endpoint": endpoint}, _SETTINGS, {})


@pytest.mark.parametrize("endpoint", ["reset", np.str_("reset"), np.array(["reset"])])
def test_an_endpoint_may_be_text_of_numpys(endpoint):
    """As a session's id may."""
    taken = asked({"endpoint": endpoint}, _SETTINGS, {}).endpoint
    assert (taken, type(taken)) == ("reset", str)


def test_a_message_has_few_keys():
    """The nearest to a missing one is looked for among all of them."""
    assert len(asked(dict.fromkeys(map(str, range(256))), _SETTINGS, {}).message) == 256
    with pytest.raises(ValueError, match="has 257 keys; at most 256"):
        asked(dict.fromkeys(map(str, range(257))), _SETTINGS, {})


@pytest.mark.parametrize(
    "large",
    [b"\0" * 2**25, [b"\0" * 2**25], {"x": b"\0" * 2**25}, np.full(999, "ä" * 9999)],
    ids=["bytes", "in a list", "in a map", "text"],
)
def test_what_is_large_is_not_written_out_to_be_told(large):
    """Only its kind and length are: its words took longer than a control step."""
    said = brief(large)
    with pytest.raises(ValueError, match=r"x is .{1,80}; it must be a whole number"):
        check_count("x", large)
    assert len(said) <= 80
    assert "of length" in said or "of shape" in said


@pytest.mark.parametrize("length", [129, 9000])
def test_a_session_id_has_a_length(length):
    """One that is too long is told with its beginning and its end, or as that long."""
    assert asked({"session_id": "x" * 128}, _SETTINGS, {}).session == "x" * 128
    words = {129: r"'session_id' is 'x+\.\.\.x+'; ", 9000: "is str of length 9000; "}
    with pytest.raises(ValueError, match=words[length] + "send 1 to 128 printable"):
        asked({"session_id": "x" * length}, _SETTINGS, {})


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("sesion_id", "session_id"),
        ("sessionId", "session_id"),
        ("option", "options"),
        ("Options", "options"),
        ("endpont", "endpoint"),
    ],
)
def test_a_slip_in_a_key_of_the_servers_is_told(slip, meant):
    """Passed over, it would cost a session, or what was asked for. A key of the
    policy's is none, nor one beside the very key, nor what resembles nothing."""
    words = f"nobody reads {slip!r}. Did you mean {meant!r}"
    with pytest.raises(ValueError, match=words):
        asked({slip: 1, "x": 1}, _SETTINGS, {}, keys=["x"])
    sent = {"session_id": "a", "options": {}, "endpoint": "infer", "x": 1}
    for keys in ([], ["x", slip]):
        assert asked({slip: 1, "x": 1}, _SETTINGS, {}, keys=keys).message[slip] == 1
    assert asked(sent | {slip: 1}, _SETTINGS, {}, keys=["x"]).session == "a"
    others = ("observation/session", "action", "episode_id", "o" * 8000)
    for other in others:
        assert other in asked({other: 1}, _SETTINGS, {}, keys=["x"]).message


@pytest.mark.parametrize("seconds", [30.1, 1e9, np.float32(31)])
def test_a_deadline_is_not_above_the_servers(seconds):
    """Otherwise the robot would wait for an answer that has been given up."""
    words = "'deadline' is .*; at most this server's 30 s"
    with pytest.raises(ValueError, match=words):
        asked({"options": {"deadline": seconds}}, _SETTINGS, {})
    assert asked({"options": {"deadline": 30}}, _SETTINGS, {}).deadline == 30.0
    assert options_allowed({}, _SETTINGS)["deadline"].endswith("server's 30")


def test_an_option_of_other_settings_is_told_why_it_is_not_taken():
    """It exists, so that its name is not unknown."""
    why = {"budget": "with this server's cache ('step_cache')"}
    words = r"option 'budget' is not taken with this server's cache \('step_cache'\)"
    with pytest.raises(ValueError, match=words):
        asked({"options": {"budget": 1}}, _SETTINGS, {}, unavailable=why)
    with pytest.raises(ValueError, match="unknown option 'stat'"):
        asked({"options": {"stat": 1}}, _SETTINGS, {}, unavailable=why)


@pytest.mark.parametrize("large", [b"\0" * 2**20, {"x": [np.zeros(999)]}, "0" * 129])
def test_an_option_is_small(large):
    """Policies compare options, and quote them."""
    with pytest.raises(ValueError, match=r"option 'budget' is .{1,80}; send a few"):
        asked({"options": {"budget": large}}, _SETTINGS, {"budget": "calls"})


def test_what_an_array_claims_is_told_briefly():
    """Also where megabytes stand for its dtype or shape."""
    held = {
        b"__ndarray__": True,
        b"data": b"",
        b"dtype": "<f4",
        b"shape": b"\0" * 2**20,
    }
    for changed in ({}, {b"dtype": b"\0" * 2**20}):
        with pytest.raises(ValueError, match="bytes of length 1048576"):
            unpack(msgpack.packb({"x": held | changed}))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("num_inference_steps", "under 'options', as 'num_inference_steps'"),
        ("num_inference_step", "nobody reads 'num_inference_step' here"),
        ("guidance_scale", "'guidance_scale' is not taken here: not guided"),
        ("deadline", "under 'options', as 'deadline'"),
    ],
)
def test_an_option_beside_the_options_is_told(sent, words):
    """It would be passed over, and whoever sent it would never know."""
    given = {"num_inference_steps": "1 to 4"}
    other = {"guidance_scale": "here: not guided"}
    with pytest.raises(ValueError, match=re.escape(words)):
        asked({sent: 2, "x": 1}, _SETTINGS, given, keys=["x"], unavailable=other)
    # A policy that reads such a key gets it; a word that is like a short one passes.
    for mine, keys in ((sent, ["x", sent]), ("status", ["x"])):
        seen = asked({mine: 2}, _SETTINGS, given, keys=keys, unavailable=other)
        assert seen.message == {mine: 2}
