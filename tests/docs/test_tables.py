"""README and docs show what the committed results say."""

import importlib.util
import re

import pytest

from tests.docs.pages import PAGES, ROOT, name


@pytest.fixture
def tables(monkeypatch):
    """The script; it finds its neighbours as if it were run."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(
        "tables", ROOT / "benchmarks" / "tables.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_results(tables):
    """No number stands in a table that a benchmark did not write."""
    before = {path: path.read_text() for path in PAGES}
    after = tables.filled(before)
    for path, text in after.items():
        assert text == before[path], f"{name(path)}: run benchmarks/tables.py --write"


def test_every_marker_is_of_a_table(tables):
    """A table whose marker is misspelt would never be made anew."""
    known = tables.tables()
    for page in PAGES:
        ends = re.findall(r"^<!-- /([\w-]+) -->$", page.read_text(), re.MULTILINE)
        assert set(ends) <= set(known), name(page)


def test_every_table_has_a_head():
    """Rows behind a gap are shown as text: a table's second line rules off its head."""
    for page in PAGES:
        code_out = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
        for table in re.findall(r"(?:^\|.*\n?)+", code_out, re.MULTILINE):
            rows = table.splitlines()
            assert re.fullmatch(r"[|: -]+", rows[1 % len(rows)]), (name(page), rows[0])
