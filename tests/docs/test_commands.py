"""The commands in README and docs are there, with the options that they are given."""

import argparse
import re
import shlex

import pytest

from jax_stepcache.cli import main as entrance
from tests.docs.pages import PAGES, ROOT, blocks, name

_LINES = [
    pytest.param(line, id=f"{name(page)}: {line}")
    for page in PAGES
    for block in blocks(page)
    if block.language == "sh"
    for line in re.sub(r"\\\n\s*", "", block.code).splitlines()
    if line.strip() and not line.startswith("#")
]
# What a shell, Python or its tools bring; looked at no further.
_OTHERS = {"pip", "git", "cd", "mkdocs", "pytest", "python", "export", "pre-commit"}


class _RanError(Exception):
    """The parser took the command, which would run now."""


def _parsers(monkeypatch):
    """The command's parsers, by subcommand, from a run that stops behind parsing."""
    seen = []

    def parse(self, arguments=None, namespace=None):
        seen.append(self)
        raise _RanError

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(_RanError):
            entrance.main([])
    (subparsers,) = (
        action
        for action in seen[0]._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return seen[0], subparsers.choices


@pytest.mark.parametrize("line", _LINES)
def test_commands_are_there(line, monkeypatch):
    """No page shows a command, a make target, a script or an option that is gone."""
    words = shlex.split(line, comments=True)
    while words and "=" in words[0] and not words[0].startswith("-"):
        words = words[1:]  # a variable of the environment
    program, *rest = words
    if program == "jax-stepcache":
        parser, _ = _parsers(monkeypatch)
        # A name in capitals stands for the reader's own.
        parser.parse_args([word for word in rest if word != "..."])
    elif program == "make":
        made = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
        targets = [word for word in rest if "=" not in word]
        assert set(targets) <= set(made)
    elif program == "python" and rest[0].endswith(".py"):
        script = ROOT / rest[0]
        assert script.is_file()
        options = {word for word in rest if word.startswith("--")}
        assert all(f'"{option}"' in script.read_text() for option in options)
    else:
        assert program in _OTHERS


def test_every_command_and_option_is_told(monkeypatch):
    """The page of the command line has each subcommand with each of its options."""
    page = (ROOT / "docs" / "commands.md").read_text()
    _, commands = _parsers(monkeypatch)
    sections = dict(
        re.findall(r"^## `jax-stepcache (\w+)`\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    )
    assert set(sections) == set(commands)
    for command, parser in commands.items():
        options = {
            option
            for action in parser._actions
            for option in action.option_strings or [action.metavar]
            if option not in ("-h", "--help")
        }
        told = set(re.findall(r"^\| `([^`\s]+)[^|]*\|", sections[command], re.M))
        assert told == options, command
