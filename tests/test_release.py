"""What is published says the same thing everywhere."""

import re
import tomllib
from pathlib import Path

import pytest

import jax_stepcache

ROOT = Path(__file__).parent.parent


def test_the_version_is_one():
    """Package, project and citation have the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (cited,) = re.findall(
        r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE
    )
    assert jax_stepcache.__version__ == project["version"] == cited


def test_the_changelog_has_a_place_for_what_comes_next():
    """ "Unreleased" stands first; versions below it are dated and fall."""
    text = (ROOT / "CHANGELOG.md").read_text()
    first, *versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert first == "Unreleased"
    parsed = [
        re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - \d{4}-\d\d-\d\d", v) for v in versions
    ]
    assert all(parsed)
    numbers = [tuple(map(int, one.groups())) for one in parsed if one]
    assert numbers == sorted(set(numbers), reverse=True)


@pytest.mark.parametrize(
    "page", ["CONTRIBUTING.md", "docs/how/index.md", "docs/how/loop.md"]
)
def test_pages_name_files_that_there_are(page):
    """A path that has moved would send people nowhere."""
    text = (ROOT / page).read_text()
    # Some are told from the library's folder on.
    starts = [ROOT, ROOT / "jax_stepcache"]
    paths = re.findall(r"`([\w./]+/[\w./]*|[\w.]+\.(?:md|py|toml|cff))`", text)
    assert len(paths) > 5
    missing = [path for path in paths if not any((i / path).exists() for i in starts)]
    assert not missing
