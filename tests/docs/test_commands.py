"""The commands in README and docs are there, with the options that they are given."""

import re
import shlex

import pytest

import jax_stepcache.cli.main as entrance
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


def _help(capsys, *command):
    """What ``jax-stepcache ... --help`` prints."""
    with pytest.raises(SystemExit) as exit:
        entrance.main([*command, "--help"])
    assert exit.value.code == 0
    return capsys.readouterr().out


def _options(text):
    """The options and arguments that a help text lists, but ``--help``."""
    return set(re.findall(r"^  (--[\w-]+|[A-Z][A-Z|]+)", text, re.M))


def _commands(text):
    """The subcommands that the help text lists."""
    return set(re.findall(r"^    (\w+)(?: |$)", text, re.M))


@pytest.mark.parametrize("line", _LINES)
def test_commands_are_there(line, capsys):
    """No page shows a command, a make target, a script or an option that is gone."""
    words = shlex.split(line, comments=True)
    while words and "=" in words[0] and not words[0].startswith("-"):
        words = words[1:]  # a variable of the environment
    program, *rest = words
    if program == "jax-stepcache":
        known = _options(_help(capsys, rest[0]))
        assert {word for word in rest if word.startswith("--")} <= known
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


def test_every_command_and_option_is_told(capsys):
    """The page of the command line has each subcommand with each of its options."""
    page = (ROOT / "docs" / "commands.md").read_text()
    sections = dict(
        re.findall(r"^## `jax-stepcache (\w+)`\n(.*?)(?=^## |\Z)", page, re.M | re.S)
    )
    assert set(sections) == _commands(_help(capsys))
    for command, section in sections.items():
        told = re.findall(r"^\| `([^`\s]+)", section, re.M)
        options = _options(_help(capsys, command))
        assert {one.replace("\\|", "|") for one in told} == options, command
