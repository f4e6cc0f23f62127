"""What is printed where standard output is no UTF-8."""

import io
import sys

import numpy as np
import pytest

from jax_stepcache import Stats
from jax_stepcache.cli.main import main
from jax_stepcache.loop.result import shown, strip

STATS = Stats(
    computed=np.array([True, False, True]),
    signal=np.zeros(3),
    model_calls=np.int32(2),
    nonfinite=np.bool_(False),
)


def _printed(monkeypatch, encoding, *things):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    for thing in things:
        print(thing)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "utf-8"])
def test_a_result_is_printed_in_letters_that_there_are(monkeypatch, encoding):
    """A Windows console, LC_ALL=C in a container: no result is lost to its picture."""
    printed = _printed(monkeypatch, encoding, STATS)
    plain = encoding not in ("utf-8", "cp437")
    assert ("#.#" if plain else "█·█") in printed


def test_a_stream_may_be_none(monkeypatch):
    """As under pythonw, or where a test has taken it."""
    monkeypatch.setattr(sys, "stdout", None)
    assert strip([True, False]) == "█·"


def test_every_letter_has_a_plain_one(monkeypatch):
    """What `shown` is given comes out in ASCII where there is nothing else."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert shown("█·±²").isascii()


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "latin-1"])
def test_a_command_says_any_path(encoding, monkeypatch, tmp_path):
    """Letters of a path that the stream lacks are escaped; the command ends well."""
    target = tmp_path / "bücher-Ж"
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["convert", "dit", str(target)]) == 0
    stream.flush()
    assert b"-\\u0416" in written.getvalue()
    assert target.is_dir()
