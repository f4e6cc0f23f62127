"""The recipes for other people's networks are as short as they are said to be."""

import ast

import pytest

from tests.docs.pages import ROOT, blocks, name

# The index has none.
_RECIPES = sorted(
    set((ROOT / "docs/anyone").glob("*.md")) - {ROOT / "docs/anyone/index.md"}
)
_MOST = 5


def _lines(code, statement):
    """Lines of a statement, but for empty ones and comments."""
    written = code.splitlines()[statement.lineno - 1 : statement.end_lineno]
    return sum(bool(x.strip()) and not x.strip().startswith("#") for x in written)


def _calls(statement):
    """Names of functions that a statement calls."""
    called = (x.func for x in ast.walk(statement) if isinstance(x, ast.Call))
    return {
        x.attr if isinstance(x, ast.Attribute) else x.id
        for x in called
        if isinstance(x, ast.Attribute | ast.Name)
    }


def glue(page):
    """Lines before each call of `sample`, imports and the loading of networks apart."""
    found = [0]
    for block in blocks(page):
        if block.language != "python" or block.why:
            continue
        for statement in ast.parse(block.code).body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                continue
            if "sample" in _calls(statement):
                found.append(0)
            elif "print" not in _calls(statement):
                found[-1] += _lines(block.code, statement)
    return found


@pytest.mark.parametrize("page", _RECIPES, ids=name)
def test_five_lines_make_a_model_of_a_network(page):
    """What stands between a network and `sample` is at most five lines."""
    found = glue(page)
    assert found[0] > 0, "there is a recipe to count"
    assert max(found) <= _MOST, found


def test_lines_are_counted(tmp_path):
    """Imports, comments, prints and the call itself are none; definitions are."""
    page = tmp_path / "page.md"
    code = "import jax\n\n# why\ndef f(\n    n,\n):\n    return n\n\nx = 1\n"
    ran = "y = jax_stepcache.sample(\n    x,\n)\nprint(y)\nz = 2\n"
    page.write_text(f"```python\n{code}```\n\n```python\n{ran}```\n")
    assert glue(page) == [5, 1]
