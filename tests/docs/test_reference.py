"""Whatever can be given, and whatever can go wrong, is found in the docs."""

import ast
import dataclasses
import inspect
import pkgutil
import re

import pytest

import jax_stepcache
from tests.docs.pages import PAGES, ROOT, name

_DOCS = {name(page): page.read_text() for page in PAGES if page.parent != ROOT}
_ALL = "\n".join(_DOCS.values())


def _section(page, title):
    """The part of a page beneath a heading."""
    found = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", _DOCS[page], re.M | re.S
    )
    assert found, f"{page} has no section {title!r}"
    return found[1]


def _told(section):
    """What the first column of a section's table names."""
    return {
        word
        for cell in re.findall(r"^\| ([^|]*)\|", section, re.M)
        for word in re.findall(r"`(\w+)=?`", cell)
    }


@pytest.mark.parametrize(
    "function",
    [
        jax_stepcache.sample,
        jax_stepcache.sample_many,
        jax_stepcache.serve,
        jax_stepcache.calibrate,
    ],
    ids=lambda function: function.__name__,
)
def test_every_parameter_is_told(function):
    """The page of options has a row for each parameter of a function, and no other."""
    told = _told(_section("docs/options.md", f"`{function.__name__}`"))
    names = {
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    assert told == names


def test_every_setting_is_told():
    """Each setting of each backend has a row, and no row is of something else."""
    configs = (
        jax_stepcache.DiffusionCacheConfig,
        jax_stepcache.FirstBlockCacheConfig,
        jax_stepcache.TaylorSeerCacheConfig,
    )
    fields = {f.name for config in configs for f in dataclasses.fields(config)}
    assert _told(_section("docs/options.md", "Settings of the caches")) == fields


def test_defaults_of_settings_are_those_of_the_code():
    """The default that a setting's row shows is the one it has."""
    section = _section("docs/options.md", "Settings of the caches")
    rows = re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", section, re.M)
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(jax_stepcache.DiffusionCacheConfig)
    }
    assert {key: ast.literal_eval(value) for key, value in rows} == defaults


def test_every_public_name_is_told():
    """Whoever meets a public name in code finds it in the docs."""
    told = set(re.findall(r"\w+", _ALL))
    assert set(jax_stepcache.__all__) <= told


def test_every_reference_is_to_something():
    """What a page takes from the docstrings is there, and has one."""
    identifiers = re.findall(r"^::: ([\w.]+)$", _ALL, re.M)
    assert identifiers
    for identifier in identifiers:
        there = pkgutil.resolve_name(identifier)
        assert inspect.getdoc(there), identifier


def _raised():
    """The names of all exceptions that the library raises by name, or has worded."""
    nodes = [
        node
        for folder in ("jax_stepcache", "models")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    makers = {one.name: ast.unparse(one.returns) for one in functions if one.returns}
    for node in nodes:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = ast.unparse(node.exc.func)
            # `kind` is no maker: it is the class that was caught.
            made = (
                None if called == "kind" else makers.get(called.removeprefix("self."))
            )
            yield made or called


def test_every_error_class_is_told():
    """The page of errors has a section for each class that is raised anywhere."""
    # `naming` raises the kind that it caught, TypeError or ValueError; an assertion is
    # the library's own fault, and argparse's error becomes a usage line.
    others = {"kind", "AssertionError", "argparse.ArgumentTypeError"}
    page = _DOCS["docs/errors.md"]
    told = set(re.findall(r"^## .*?`([\w.]+)`", page, re.M))
    assert set(_raised()) - others <= told
    delivered = {"DeadlineExceeded", "FloatingPointError", "CancelledError"}
    assert {word.rpartition(".")[2] for word in told} >= delivered


def _messages():
    """What the library says in errors, ``...`` for values."""

    def words(node):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(words(one) for one in node.values)
        return "..."

    for folder in ("jax_stepcache", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant | ast.JoinedStr):
                    yield words(node)


def test_messages_are_those_of_the_code():
    """Whoever looks a message up finds it; none is told that the library never says."""
    said = list(_messages())
    rows = re.findall(r"^\| `([^`]+)` \|", _DOCS["docs/errors.md"], re.M)
    assert len(rows) > 40
    for message in rows:
        parts = [re.escape(part) for part in message.split("...")]
        pattern = re.compile(".*".join(parts), re.S)
        assert any(pattern.search(one) for one in said), message
