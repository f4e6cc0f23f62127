"""Settings that all tests share."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

# Reproducible and without a clock: the machines that run these differ in speed.
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, max_examples=15, database=None
)
hypothesis.settings.load_profile("repeatable")

_MANY_MAPS = 30_000

# Float32 matrix products in full, as in the recorded runs.
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors",
        metavar="DIR",
        type=Path,
        default=Path(__file__).parent / "data",
        help="folder with dreamzero/ and caches/, the recorded runs of the originals",
    )


# Most of the suite's time is compilation, and few tests hang on how fast they run.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def full_compilation() -> Iterator[None]:
    """Compiles as users do: for claims about compiled programs, and for long runs."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Lets go of compiled programs before there are too many for one process.

    Each is a handful of memory maps, of which Linux grants 65,530; XLA's compiler then
    fails with a segmentation fault.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()
