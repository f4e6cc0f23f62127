"""Settings that all tests share.

`pytest` alone runs what takes seconds: all but the tests marked `slow`, and property
tests with few examples. `make test-all` runs the rest: `-m "slow or hypothesis"
--hypothesis-profile many`. A test that is asked for by name runs, slow or not, and so
does everything made of recorded numbers where a folder of these is given.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jax
import pytest

from .emitters import QUICK

_QUICK = "not slow"  # pyproject.toml says so, too

# Reproducible and without a clock: the machines that run these differ in speed.
for _profile, _examples in (("few", 5), ("many", 12)):
    hypothesis.settings.register_profile(
        _profile,
        derandomize=True,
        deadline=None,
        max_examples=_examples,
        database=None,
    )
hypothesis.settings.load_profile("few")

_MANY_MAPS = 30_000
_KEPT_SECONDS = 7 * 24 * 3600

# Float32 matrix products in full, as in the recorded runs.
jax.config.update("jax_default_matmul_precision", "highest")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors",
        metavar="DIR",
        type=Path,
        help="folder with caches/, dreamzero/, encoders/: runs of the originals",
    )


def pytest_configure(config: pytest.Config) -> None:
    named = any("::" in argument for argument in config.args)
    if config.option.markexpr == _QUICK and (named or config.option.vectors):
        config.option.markexpr = ""
    _compile_quickly()
    if hasattr(config, "cache"):
        folder = config.cache.mkdir("compiled")
        _keep_programs(folder)
        if not hasattr(config, "workerinput"):
            _forget_old_programs(folder)


def _compile_quickly() -> None:
    """Unless the user has flags for XLA: `XLA_FLAGS= pytest` has its usual emitters.

    So have `make sample`, the notebooks and what runs the installed wheel.
    """
    os.environ.setdefault("XLA_FLAGS", QUICK)


def _keep_programs(folder: Path) -> None:
    """What is compiled once serves all workers, their child processes and later runs.

    JAX's key of a program has all that it depends on: its text, the compiler and its
    options, the processor. Each process still traces for itself, so tests that count
    traces and programs count the same.
    """
    for option, value in (
        ("jax_compilation_cache_dir", str(folder)),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
    ):
        if option.upper() not in os.environ:
            os.environ[option.upper()] = str(value)
            jax.config.update(option, value)


def _forget_old_programs(folder: Path) -> None:
    """A change to the library leaves programs behind that nothing asks for any more."""
    old = time.time() - _KEPT_SECONDS
    for program in folder.iterdir():
        if program.stat().st_mtime < old:
            program.unlink(missing_ok=True)


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
    """Lets go of compiled programs after each file; see `_let_go`."""
    yield
    _let_go()


@pytest.fixture(autouse=True)
def few_programs_of_slow_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Likewise after each slow test: one file has enough of them to fill a process."""
    yield
    if request.node.get_closest_marker("slow"):
        _let_go()


def _let_go() -> None:
    """Forgets compiled programs before there are too many for one process.

    Each is a handful of memory maps, of which Linux grants 65,530; XLA's compiler then
    fails with a segmentation fault.
    """
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()
