"""Tests of the policy server skip, and say so, where its extra is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

# These are of the parts that stand without it.
ALONE = {"test_asked.py", "test_wire.py"}
LACKS = [
    name
    for name in ("starlette", "uvicorn", "prometheus_client")
    if find_spec(name) is None
]


class Skipped(pytest.Module):
    """A file of tests that cannot be read here."""

    def collect(self) -> Any:
        """Says why."""
        pytest.skip(f"needs {', '.join(LACKS)}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Any, parent: Any) -> Any:
    """Reads no file that would fail at its imports."""
    if not LACKS or module_path.name in ALONE:
        return None
    return Skipped.from_parent(parent, path=module_path)
