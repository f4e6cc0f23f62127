"""What commands print does not hang on how well their programs are compiled."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quick(quick_compilation: None) -> None:
    """Compiles with few optimisations."""
