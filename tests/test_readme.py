"""The README shows what the committed results say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_tables_are_those_of_the_results():
    """No number stands in the README's tables that a benchmark did not write."""
    spec = importlib.util.spec_from_file_location(
        "readme", ROOT / "benchmarks" / "readme.py"
    )
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    text = (ROOT / "README.md").read_text()
    assert readme.filled(text) == text
