"""What is read and written does not hang on how well it is compiled."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quick(quick_compilation: None) -> None:
    """Compiles with few optimisations."""
